{{/* Names, labels and what several templates say alike. */}}

{{- define "trawl.name" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains "trawl" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-trawl" (.Release.Name | trunc 34 | trimSuffix "-") -}}
{{- end -}}
{{- end }}

{{- define "trawl.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: trawl
{{ include "trawl.selector" . }}
{{- end }}

{{- define "trawl.selector" -}}
app.kubernetes.io/name: trawl
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "trawl.serviceAccount" -}}
{{- if .Values.serviceAccount.name }}{{ .Values.serviceAccount.name }}
{{- else if .Values.serviceAccount.create }}{{ include "trawl.name" . }}
{{- else }}default{{ end -}}
{{- end }}

{{- define "trawl.hasTls" -}}
{{- if ne .Values.tls.mode "off" }}true{{ end -}}
{{- end }}

{{- define "trawl.scheme" -}}
{{- ternary "https" "http" (eq (include "trawl.hasTls" .) "true") -}}
{{- end }}

{{- define "trawl.serviceHost" -}}
{{- printf "%s.%s.svc" (include "trawl.name" .) .Release.Namespace -}}
{{- end }}

{{/* The Service first, which spreads the workers; then each coordinator by its own name, to turn to when one does not answer. */}}
{{- define "trawl.coordinatorUrls" -}}
{{- $scheme := include "trawl.scheme" . -}}
{{- $name := include "trawl.name" . -}}
{{- $urls := list (printf "%s://%s:50051" $scheme (include "trawl.serviceHost" .)) -}}
{{- $replicas := int .Values.coordinator.replicas -}}
{{- if gt $replicas 1 -}}
{{- range $number := until $replicas -}}
{{- $urls = append $urls (printf "%s://%s-coordinator-%d.%s-coordinators.%s.svc:50051" $scheme $name $number $name $.Release.Namespace) -}}
{{- end -}}
{{- end -}}
{{- join "," $urls -}}
{{- end }}

{{- define "trawl.tlsSecret" -}}
{{- if eq .Values.tls.mode "existingSecret" }}{{ .Values.tls.existingSecret }}{{ else }}{{ include "trawl.name" . }}-tls{{ end -}}
{{- end }}

{{- define "trawl.tokensSecret" -}}
{{- .Values.tokens.existingSecret | default (printf "%s-tokens" (include "trawl.name" .)) -}}
{{- end }}

{{/* Secret with the URL of the user who reads results, and its key: the named Secret, else the one of this chart's database. */}}
{{- define "trawl.readerSecret" -}}
{{- if .Values.autoscaling.readerSecret.name -}}
{{- toJson .Values.autoscaling.readerSecret -}}
{{- else if .Values.database.cloudnativepg.enabled -}}
{{- dict "name" (include "trawl.databaseReaderSecret" .) "key" "uri" | toJson -}}
{{- else -}}
{}
{{- end -}}
{{- end }}

{{- define "trawl.databaseReaderSecret" -}}
{{- .Values.database.cloudnativepg.readerSecret | default (printf "%s-db-reader" (include "trawl.name" .)) -}}
{{- end }}

{{/* What a superuser has to do in the database, statement by statement: a blank line ends each. */}}
{{- define "trawl.rolesStatements" -}}
{{- $statements := list "CREATE ROLE reader LOGIN" -}}
{{- range splitList ";\n\n" (.Files.Get "files/roles.sql") -}}
{{- $statements = append $statements (trim . | trimSuffix ";") -}}
{{- end -}}
{{- toYaml $statements -}}
{{- end }}

{{- define "trawl.dnsNames" -}}
{{- $name := include "trawl.name" . -}}
{{- $host := include "trawl.serviceHost" . -}}
{{- $names := list $host $name (printf "%s.%s" $name .Release.Namespace) (printf "%s.cluster.local" $host) (printf "*.%s-coordinators.%s.svc" $name .Release.Namespace) "localhost" -}}
{{- concat $names .Values.tls.dnsNames | toJson -}}
{{- end }}

{{/* The names of a generated certificate: other names make a new one, and its readers, who read it at the start, have to start anew. */}}
{{- define "trawl.tlsAnnotations" -}}
{{- if eq .Values.tls.mode "generated" -}}
{{- dict "trawl/dns-names-sha256" (include "trawl.dnsNames" . | sha256sum) | toJson -}}
{{- else -}}
{}
{{- end -}}
{{- end }}

{{- define "trawl.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "trawl.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "trawl.dnsEgress" -}}
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{- end }}

{{/* A pool takes the settings that it leaves out from `cpu`, except settings that belong to a kind of machine. */}}
{{- define "trawl.pool" -}}
{{- $ofCpu := omit .root.Values.workers.cpu "enabled" "image" "nodeSelector" "tolerations" "affinity" "runtimeClassName" "extraEnv" "podAnnotations" "priorityClassName" "autoscaling" -}}
{{- $scaling := dict "enabled" false "minReplicas" 0 "maxReplicas" 10 "trialsPerWorker" 16 -}}
{{- $none := dict "enabled" true "image" dict "nodeSelector" dict "tolerations" list "affinity" dict "runtimeClassName" "" "extraEnv" list "podAnnotations" dict "priorityClassName" "" "autoscaling" $scaling -}}
{{- mergeOverwrite $none (deepCopy $ofCpu) (deepCopy .pool) | toJson -}}
{{- end }}

{{- define "trawl.workerImage" -}}
{{- $all := .root.Values.workerImage -}}
{{- $tag := $all.tag | default .root.Chart.AppVersion -}}
{{- printf "%s:%s" (.pool.image.repository | default $all.repository) (.pool.image.tag | default (ternary (printf "%s-cuda" $tag) $tag .pool.gpu.enabled)) -}}
{{- end }}

{{- define "trawl.tracingEnv" -}}
{{- with .root.Values.tracing.otlpEndpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ . | quote }}
- name: OTEL_SERVICE_NAME
  value: {{ $.service }}
{{- end }}
{{- end }}

{{/* Four fifths of a pool's cache volume: an incoming file lies beside the others until it is whole. */}}
{{- define "trawl.cacheBytes" -}}
{{- $units := dict "" 1 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 -}}
{{- $units = merge $units (dict "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624) -}}
{{- $number := regexReplaceAll "[A-Za-z]" .cacheSizeLimit "" -}}
{{- mulf 0.8 (float64 $number) (get $units (regexReplaceAll "[0-9.]" .cacheSizeLimit "") | float64) | int64 -}}
{{- end }}
