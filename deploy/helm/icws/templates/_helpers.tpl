{{/* The name of everything, unless the release has another: "icws", or "RELEASE-icws". */}}
{{- define "icws.name" -}}
{{- if contains "icws" .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-icws" .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What selectors use, which may never change. */}}
{{- define "icws.selector" -}}
app.kubernetes.io/name: icws
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "icws.labels" -}}
{{ include "icws.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "icws.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* The environment of the gateway: its options as variables. Whole numbers stay whole, lists are joined. */}}
{{- define "icws.environment" -}}
ICWS_GATEWAY_ADDRESS: "tcp:8080"
ICWS_PROMETHEUS_ENDPOINT: "tcp:9090"
ICWS_DATA_DIR: "/ic-ws-gateway/data"
{{- if .Values.tls.secretName }}
ICWS_TLS_CERTIFICATE_PEM_PATH: "/tls/tls.crt"
ICWS_TLS_CERTIFICATE_KEY_PEM_PATH: "/tls/tls.key"
{{- end }}
{{- if .Values.config }}
ICWS_CONFIG: "/etc/icws/icws.toml"
{{- end }}
{{- range $name, $value := .Values.options }}
{{- if has $name (list "gateway-address" "prometheus-endpoint" "data-dir") }}
{{- fail (printf "options.%s: the chart sets it" $name) }}
{{- end }}
{{- if kindIs "slice" $value }}
{{- $value = join "," $value }}
{{- else if kindIs "float64" $value }}
{{- if eq $value (floor $value) }}
{{- $value = int64 $value }}
{{- end }}
{{- end }}
ICWS_{{ $name | upper | replace "-" "_" }}: {{ $value | toString | quote }}
{{- end }}
{{- end -}}
