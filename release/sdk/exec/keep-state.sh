#!/bin/sh
# Keeps FOLDER/IPv4.json and FOLDER/IPv6.json equal to the desired state of this node. For some hundred Services: a
# shell reads its input byte by byte. Run it with --backend exec --backend-option command=/opt/keep-state.sh
# --backend-option 'args=["/run/desired"]', or by hand: kube-proxy render --backend exec … | ./keep-state.sh /tmp/desired
folder=${1:?give the folder as the first argument}
mkdir -p "$folder" || exit 1
while IFS= read -r line; do
  rest=${line#*'"id":'} # the fields come in a fixed order
  id=${rest%%[,\}]*}
  case $line in
  '{"type":"hello",'*) echo '{"type":"ready"}' && continue ;;
  '{"type":"sync",'*)
    change=${rest#*'"change":'}
    family=${change#'{"family":"'}
    file=$folder/${family%%\"*}.json
    printf '%s\n' "${change%\}}" >"$file.new" && mv "$file.new" "$file" ;; # whoever reads sees the old or the new
  '{"type":"cleanup",'*) rm -f "$folder/IPv4.json" "$folder/IPv6.json" ;;
  esac && echo "{\"type\":\"done\",\"id\":$id}" ||
    echo "{\"type\":\"error\",\"id\":$id,\"message\":\"$folder cannot be written\"}"
done # the end of the input: kube-proxy is gone, the files stay
