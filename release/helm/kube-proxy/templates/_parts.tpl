{{- define "kube-proxy.labels" -}}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "kube-proxy.image" -}}
{{- $name := required "image.repository: there is no public image; give --set image.repository=REGISTRY/kube-proxy" .Values.image.repository -}}
{{- with .Values.image.digest }}{{ $name }}@{{ . }}{{ else }}{{ $name }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end -}}
{{- end }}

{{/* The KubeProxyConfiguration: what the chart knows, and .Values.config over it. */}}
{{- define "kube-proxy.config" -}}
{{- $config := dict
  "apiVersion" "kubeproxy.config.k8s.io/v1alpha1"
  "kind" "KubeProxyConfiguration"
  "clusterCIDR" .Values.clusterCIDR
  "clientConnection" (dict "kubeconfig" "/var/lib/kube-proxy/kubeconfig.conf")
  "healthzBindAddress" "0.0.0.0:10256"
  "metricsBindAddress" (ternary "0.0.0.0:10249" "127.0.0.1:10249" .Values.monitoring.podMonitor.enabled)
  "oomScoreAdj" -997
-}}
{{- /* `mode` is what other programs read in the ConfigMap, and has the reference's names only. */ -}}
{{- $key := ternary "mode" "backend" (has .Values.backend (list "iptables" "ipvs" "nftables")) -}}
{{- $_ := set $config $key .Values.backend -}}
{{- with .Values.backendOptions }}{{ $_ := set $config "backendOptions" . }}{{ end -}}
{{- with .Values.plugins }}{{ $_ := set $config "pluginDir" "/etc/kube-proxy/plugins" }}{{ end -}}
{{- if hasKey .Values.config "hostnameOverride" }}
{{- fail "config.hostnameOverride: cannot be one name for all nodes; each goes by its spec.nodeName. Leave it out" }}
{{- end -}}
{{- $config = mustMergeOverwrite $config (deepCopy .Values.config) -}}
{{- if and (eq (get $config "backend") "exec") (not (dig "command" "" (get $config "backendOptions" | default dict))) }}
{{- fail "backendOptions.command: the backend exec needs the path of a program, in the image or in extraVolumes" }}
{{- end -}}
{{- toYaml $config -}}
{{- end }}

{{/* As the program chooses it. */}}
{{- define "kube-proxy.backend" -}}
{{- $config := include "kube-proxy.config" . | fromYaml -}}
{{- get $config "backend" | default (get $config "mode") | default "iptables" -}}
{{- end }}

{{/*
Where a server of the configuration listens, as YAML: `port`, and `host` unless it is all addresses. An address is
"IP:port", an IP alone, "" for the default, or "0": no such server, and then this is empty.
*/}}
{{- define "kube-proxy.server" -}}
{{- $address := get (include "kube-proxy.config" .root | fromYaml) .field -}}
{{- if ne $address "0" }}
{{- $port := regexFind "^(\\[.*\\]|[^:]*):[0-9]+$" $address | regexFind "[0-9]+$" | default .port -}}
{{- $host := regexReplaceAll "^\\[?(.*?)\\]?$" (trimSuffix (printf ":%s" $port) $address) "${1}" -}}
port: {{ $port }}
{{- if not (has $host (list "" "0.0.0.0" "::")) }}
host: {{ $host | quote }}
{{- end }}
{{- end }}
{{- end }}

{{- define "kube-proxy.mounts" -}}
- name: kube-proxy
  mountPath: /var/lib/kube-proxy
  readOnly: true
- name: xtables-lock
  mountPath: /run/xtables.lock
- name: tmp
  mountPath: /tmp
{{- if .Values.plugins }}
- name: plugins
  mountPath: /etc/kube-proxy/plugins
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "kube-proxy.env" -}}
- name: NODE_NAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
{{- end }}
