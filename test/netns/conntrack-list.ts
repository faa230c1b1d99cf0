/**
 * A program: prints the connection tracking entries of the namespace that it runs in, one JSON object a line. The
 * `conntrack` tool is seldom installed, and /proc/net/nf_conntrack shows no ids.
 */
import { attributesByType, attributeU16BE, attributeU32BE } from '../../core/netlink/attributes.ts';
import { nfnetlinkAttributes, writeNfgenmsg } from '../../core/netlink/nfnetlink.ts';
import { openConversation } from '../../core/netlink/request.ts';
import { NETLINK_NETFILTER, openNetlink } from '../../core/netlink/socket.ts';

export interface Entry {
  readonly id: number;
  readonly protocol: number;
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort: number;
  /** Who answers. */
  readonly answerer: string;
}

function addressesOf(tuple: ReadonlyMap<number, Uint8Array>): readonly [source: string, destination: string] {
  const ips = attributesByType(tuple.get(1)!);
  const text = (bytes: Uint8Array): string =>
    bytes.length === 4 ? bytes.join('.') : Buffer.from(bytes).toString('hex');
  return [text(ips.get(1) ?? ips.get(3)!), text(ips.get(2) ?? ips.get(4)!)];
}

function main(): void {
  const conversation = openConversation(() => openNetlink({ protocol: NETLINK_NETFILTER }));
  const call = {
    operation: 'conntrack list',
    object: '',
    type: 0x101,
    write: (writer: Parameters<typeof writeNfgenmsg>[0]) => writeNfgenmsg(writer, 0),
  };
  conversation.dump(call, (message) => {
    const attributes = attributesByType(nfnetlinkAttributes(message));
    const original = attributesByType(attributes.get(1)!);
    const ports = attributesByType(original.get(2)!);
    const port = (type: number): number => (ports.has(type) ? attributeU16BE(ports.get(type)!) : 0);
    const [source, destination] = addressesOf(original);
    const entry: Entry = {
      id: attributeU32BE(attributes.get(12)!),
      protocol: ports.get(1)![0]!,
      source,
      sourcePort: port(2),
      destination,
      destinationPort: port(3),
      answerer: addressesOf(attributesByType(attributes.get(2)!))[0],
    };
    console.log(JSON.stringify(entry));
  });
  conversation.close();
}

if (import.meta.main) main();
