{{- define "delivery-exporter.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* 52 characters: the names of a StatefulSet's pods and of their revisions are longer than its own. */}}
{{- define "delivery-exporter.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- $name := include "delivery-exporter.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "delivery-exporter.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride }}
{{- end }}

{{- define "delivery-exporter.selectorLabels" -}}
app.kubernetes.io/name: {{ include "delivery-exporter.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "delivery-exporter.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "delivery-exporter.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "delivery-exporter.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "delivery-exporter.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "delivery-exporter.image" -}}
{{- if .Values.image.digest -}}
{{ printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else -}}
{{ printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end -}}
{{- end }}

{{- define "delivery-exporter.configSecretName" -}}
{{- default (printf "%s-config" (include "delivery-exporter.fullname" .)) .Values.configExistingSecretName }}
{{- end }}

{{/* Empty if there are no files of secrets. */}}
{{- define "delivery-exporter.secretsSecretName" -}}
{{- if .Values.secretsExistingSecretName }}
{{- .Values.secretsExistingSecretName }}
{{- else if .Values.secrets }}
{{- printf "%s-secrets" (include "delivery-exporter.fullname" .) }}
{{- end }}
{{- end }}

{{/* Empty if there is no web configuration. */}}
{{- define "delivery-exporter.webConfigSecretName" -}}
{{- if .Values.webConfigExistingSecretName }}
{{- .Values.webConfigExistingSecretName }}
{{- else if .Values.webConfig }}
{{- printf "%s-web-config" (include "delivery-exporter.fullname" .) }}
{{- end }}
{{- end }}

{{- define "delivery-exporter.scheme" -}}
{{- if .Values.webConfig.tls_server_config }}https{{ else }}http{{ end }}
{{- end }}

{{/* The configuration: config, with the file of the database's URL if a Secret has it. */}}
{{- define "delivery-exporter.config" -}}
{{- $config := deepCopy .Values.config }}
{{- if and (eq .Values.store.type "postgresql") .Values.store.postgresql.existingSecret }}
{{- $store := merge (dict "url_file" "store/url") (default dict $config.store) }}
{{- $_ := set $config "store" $store }}
{{- end }}
{{- toYaml $config }}
{{- end }}

{{/* How a probe asks for a path, unless it says so itself. */}}
{{- define "delivery-exporter.probe" -}}
{{- $probe := deepCopy .probe }}
{{- $tls := default dict .root.Values.webConfig.tls_server_config }}
{{- $clients := not (has (default "NoClientCert" $tls.client_auth_type) (list "NoClientCert" "RequestClientCert" "VerifyClientCertIfGiven")) }}
{{- if not (or $probe.httpGet $probe.tcpSocket $probe.exec $probe.grpc) }}
{{- if or .root.Values.webConfig.basic_auth_users $clients }}
{{- $_ := set $probe "tcpSocket" (dict "port" "http") }}
{{- else }}
{{- $_ := set $probe "httpGet" (dict "path" .path "port" "http" "scheme" (include "delivery-exporter.scheme" .root | upper)) }}
{{- end }}
{{- end }}
{{- toYaml $probe }}
{{- end }}

{{/* Where the runbooks are read. */}}
{{- define "delivery-exporter.runbooks" -}}
{{- default (printf "%s://%s.%s.svc:%v/runbooks" (include "delivery-exporter.scheme" .) (include "delivery-exporter.fullname" .) (include "delivery-exporter.namespace" .) .Values.service.port) .Values.prometheusRule.runbookBaseUrl | trimSuffix "/" }}
{{- end }}

{{/* Values that contradict each other; the schema has looked at each of them. */}}
{{- define "delivery-exporter.validate" -}}
{{- $store := default dict .Values.config.store }}
{{- $url := default "" $store.url | toString }}
{{- $isUrlOfPostgres := or (hasPrefix "postgres://" $url) (hasPrefix "postgresql://" $url) }}
{{- if eq .Values.store.type "sqlite" }}
{{- if gt (int .Values.replicaCount) 1 }}
{{- fail (printf "\n\nreplicaCount is %d, but the ledger is an SQLite file, which belongs to a single replica: every replica would count everything again. Set store.type=postgresql, with the database's URL in a Secret (store.postgresql.existingSecret) or in config.store.url; or replicaCount=1." (int .Values.replicaCount)) }}
{{- end }}
{{- if $isUrlOfPostgres }}
{{- fail "\n\nconfig.store.url names a PostgreSQL database, but store.type is sqlite. Set store.type=postgresql." }}
{{- end }}
{{- else if .Values.store.postgresql.existingSecret }}
{{- if .Values.configExistingSecretName }}
{{- fail "\n\nstore.postgresql.existingSecret cannot be put into a configuration that comes from configExistingSecretName. Name the database there, as store.url or store.url_file, and leave store.postgresql.existingSecret empty." }}
{{- end }}
{{- if or $url $store.url_file }}
{{- fail "\n\nThe database is configured twice: in store.postgresql.existingSecret, and in config.store.url or url_file. Remove one of them." }}
{{- end }}
{{- else if not (or .Values.configExistingSecretName $isUrlOfPostgres $store.url_file (contains "${" $url)) }}
{{- fail "\n\nstore.type is postgresql, but no database is named. Set store.postgresql.existingSecret to a Secret with its URL, or config.store.url." }}
{{- end }}
{{- if and .Values.persistence.existingClaim (gt (int .Values.replicaCount) 1) }}
{{- fail "\n\npersistence.existingClaim is a single volume, and several replicas would share its spool. Remove it, so that each replica gets its own volume." }}
{{- end }}
{{- if and .Values.prometheusRule.enabled .Values.serviceMonitor.enabled (not (contains "delivery" (include "delivery-exporter.name" .))) }}
{{- fail "\n\nThe alert rules need \"delivery\" in the name of the job, which is nameOverride. Change nameOverride accordingly." }}
{{- end }}
{{- end }}
