{{- define "tandem.name" -}}{{ .Values.region }}{{- end }}
{{- define "tandem.labels" -}}
app.kubernetes.io/name: tandem
app.kubernetes.io/instance: {{ .Release.Name }}
tandem/region: {{ .Values.region }}
{{- end }}
{{- define "tandem.dir" -}}{{ if eq .Values.os "windows" }}C:/ProgramData/Tandem{{ else }}/etc/tandem{{ end }}{{- end }}
{{- define "tandem.data" -}}{{ if eq .Values.os "windows" }}C:/ProgramData/Tandem/data{{ else }}/var/lib/tandem{{ end }}{{- end }}
{{- define "tandem.peers" -}}
{{- $r := . -}}
{{- range $i := until (int .Values.replicas) }}{{ if $i }},{{ end }}{{ $r.Values.region }}-{{ $i }}.{{ $r.Values.region }}-nodes.{{ $r.Release.Namespace }}.svc:8471{{ end }}
{{- end }}
{{- define "tandem.check" -}}
{{- if not (has .Values.public.mode (list "relay" "nodes")) }}{{ fail "public.mode is relay or nodes" }}{{ end }}
{{- if and (eq .Values.public.mode "nodes") (not (contains "{node}" .Values.public.nodeUrl)) }}{{ fail "public.mode is nodes: public.nodeUrl needs {node} in it, such as https://{node}.bot.contoso.com" }}{{ end }}
{{- if not (has .Values.os (list "linux" "windows")) }}{{ fail "os is linux or windows" }}{{ end }}
{{- if not .Values.config.apps }}{{ fail "config.apps is empty: name your bot registration, see deploy/tandem.yaml" }}{{ end }}
{{- end }}
