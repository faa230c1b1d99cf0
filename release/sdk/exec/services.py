#!/usr/bin/env python3
"""Keeps a table of this node's Services, "address:port/protocol endpoint…", in the file that the option `file` names."""
import json, os, sys

at = lambda ip, port: f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
answer = lambda **fields: print(json.dumps(fields), flush=True)
file, tables = "", {}
for line in sys.stdin:  # ends when kube-proxy goes; the table stays
    message = json.loads(line)
    try:
        if message["type"] == "hello":
            file = message["options"]["file"]
            answer(type="ready")
            continue
        change = message.get("change")  # none: cleanup
        tables = {**tables, change["family"]: change["upsert"]} if change else {}
        with open(file + ".new", "w") as new:
            for p in (port for ports in tables.values() for port in ports):
                endpoints = [at(e["ip"], e["port"]) for e in p[p["internalPolicy"].lower()]]
                print(at(p["clusterIP"], p["port"]) + "/" + p["protocol"], *endpoints, file=new)
        os.rename(file + ".new", file)  # whoever reads sees the old table or the new one
        change or os.remove(file)
        answer(type="done", id=message["id"])
    except Exception as fault:
        answer(type="error", id=message.get("id"), message=f"{type(fault).__name__}: {fault}")
