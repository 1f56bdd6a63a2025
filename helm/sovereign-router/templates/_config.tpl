{{/* sovereign.yaml: what `config` says, with the parts that the chart knows: certificate files and storage. */}}

{{- define "sovereign.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- if include "sovereign.tlsSecret" . -}}
{{- $files := dict "certificate_file" "/etc/sovereign/tls/tls.crt" "key_file" "/etc/sovereign/tls/tls.key" -}}
{{- $config = mergeOverwrite $config (dict "ingress" (dict "tls" $files)) -}}
{{- end -}}
{{- if eq .Values.storage.mode "shared" -}}
{{- $_ := set $config "storage" (include "sovereign.storage" . | fromYaml) -}}
{{- end -}}
{{ toYaml $config }}
{{- end -}}

{{- define "sovereign.storage" -}}
database: {url_env: SOVEREIGN_DATABASE_URL}
shared:
  url_env: SOVEREIGN_VALKEY_URL
  {{- with .Values.storage.shared.valkey.caFile }}
  ca_file: {{ . | quote }}
  {{- end }}
key_hash: {env: SOVEREIGN_KEY_HASH}
log_keys_dir: /var/lib/sovereign-shared/log-keys
{{- with .Values.storage.shared.s3 }}
tiles:
  s3:
    endpoint: {{ .endpoint | quote }}
    bucket: {{ .bucket | quote }}
    {{- with .prefix }}
    prefix: {{ . | quote }}
    {{- end }}
    region: {{ default "us-east-1" .region | quote }}
    {{- if hasKey . "pathStyle" }}
    path_style: {{ .pathStyle }}
    {{- end }}
    {{- if .secret }}
    access_key_id: {env: SOVEREIGN_TILES_KEY_ID}
    secret_access_key: {env: SOVEREIGN_TILES_SECRET}
    {{- end }}
    {{- with .caFile }}
    ca_file: {{ . | quote }}
    {{- end }}
{{- else }}
tiles: {directory: /var/lib/sovereign-shared/tiles}
{{- end }}
{{- end -}}

{{/* The parts of it that a running processor refuses to change: a pod is replaced for them, and for nothing else. */}}
{{- define "sovereign.fixed" -}}
{{- $config := include "sovereign.config" . | fromYaml -}}
{{- toYaml (pick $config "origin" "limits" "ingress" "storage") -}}
{{- end -}}

{{/* Variables that name Secrets: those of the storage, and of `secrets.env`. */}}
{{- define "sovereign.storageEnv" -}}
{{- if eq .Values.storage.mode "shared" -}}
{{- with .Values.storage.shared -}}
{{- template "sovereign.secretEnv" (dict "name" "SOVEREIGN_DATABASE_URL" "secret" .database.secret "key" .database.key) }}
{{ template "sovereign.secretEnv" (dict "name" "SOVEREIGN_VALKEY_URL" "secret" .valkey.secret "key" .valkey.key) }}
{{ template "sovereign.secretEnv" (dict "name" "SOVEREIGN_KEY_HASH" "secret" .keyHash.secret "key" .keyHash.key) }}
{{- if .s3.secret }}
{{ template "sovereign.secretEnv" (dict "name" "SOVEREIGN_TILES_KEY_ID" "secret" .s3.secret "key" (default "access-key-id" .s3.accessKeyIdKey)) }}
{{ template "sovereign.secretEnv" (dict "name" "SOVEREIGN_TILES_SECRET" "secret" .s3.secret "key" (default "secret-access-key" .s3.secretAccessKeyKey)) }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "sovereign.secretEnv" -}}
- name: {{ .name }}
  valueFrom: {secretKeyRef: {name: {{ .secret | quote }}, key: {{ .key | quote }}}}
{{- end -}}
