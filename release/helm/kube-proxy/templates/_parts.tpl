{{- define "kube-proxy.labels" -}}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "kube-proxy.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
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
{{- $key := ternary "mode" "backend" (has .Values.backend (list "iptables" "nftables")) -}}
{{- $_ := set $config $key .Values.backend -}}
{{- with .Values.backendOptions }}{{ $_ := set $config "backendOptions" . }}{{ end -}}
{{- with .Values.plugins }}{{ $_ := set $config "pluginDir" "/etc/kube-proxy/plugins" }}{{ end -}}
{{- mustMergeOverwrite $config (deepCopy .Values.config) | toYaml -}}
{{- end }}

{{/* The port of an address such as "0.0.0.0:10256" in the configuration: probes follow it. */}}
{{- define "kube-proxy.port" -}}
{{- $config := include "kube-proxy.config" .root | fromYaml -}}
{{- regexFind "[0-9]+$" (get $config .field) -}}
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
{{- end }}

{{- define "kube-proxy.env" -}}
- name: NODE_NAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
{{- end }}
