{{/* Names, labels, ports and the few questions that several manifests ask. */}}

{{- define "sovereign.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 52 characters: a StatefulSet's pods add a hash of eleven to it in a label. */}}
{{- define "sovereign.fullname" -}}
{{- $name := include "sovereign.name" . -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{/* Labels of everything but pods' selectors; call with (list $ component). */}}
{{- define "sovereign.labels" -}}
{{- $root := index . 0 -}}
{{ include "sovereign.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* What selects the pods of a component. Fixed for the life of a release. */}}
{{- define "sovereign.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "sovereign.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "sovereign.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "sovereign.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "sovereign.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end -}}
{{- end -}}

{{/* Name of the Secret with the certificate; empty without TLS. */}}
{{- define "sovereign.tlsSecret" -}}
{{- if .Values.tls.secret -}}
{{ .Values.tls.secret }}
{{- else if .Values.tls.certManager.enabled -}}
{{ include "sovereign.fullname" . }}-tls
{{- end -}}
{{- end -}}

{{/* A StatefulSet where pods keep volumes, else a Deployment, or a DaemonSet where one is asked for. */}}
{{- define "sovereign.kind" -}}
{{- if .Values.daemonSet.enabled -}}
DaemonSet
{{- else -}}
{{ ternary "StatefulSet" "Deployment" .Values.storage.persistence.enabled }}
{{- end -}}
{{- end -}}

{{/* Whether the number of pods is ours and may be more than one: "true" or nothing. */}}
{{- define "sovereign.several" -}}
{{- if and (not .Values.daemonSet.enabled) (or .Values.autoscaling.enabled (gt (int .Values.replicas) 1)) -}}true{{- end -}}
{{- end -}}

{{/* Whether clients have to show a certificate, which the kubelet has none of: "true" or nothing. */}}
{{- define "sovereign.clientCertificates" -}}
{{- if dig "ingress" "tls" "require_client_certificate" false .Values.config -}}true{{- end -}}
{{- end -}}

{{- define "sovereign.http3" -}}
{{- if dig "ingress" "http3" false .Values.config -}}true{{- end -}}
{{- end -}}

{{/* The ports: of Envoy in the pod, and of the Service. */}}
{{- define "sovereign.targetPort" -}}
{{- ternary 8443 8080 (ne (include "sovereign.tlsSecret" .) "") -}}
{{- end -}}

{{- define "sovereign.servicePort" -}}
{{- default (ternary 443 80 (ne (include "sovereign.tlsSecret" .) "")) .Values.service.port -}}
{{- end -}}

{{- define "sovereign.url" -}}
{{- $tls := ne (include "sovereign.tlsSecret" .) "" -}}
{{- ternary "https" "http" $tls }}://{{ include "sovereign.fullname" . }}.{{ .Release.Namespace }}.svc:{{ include "sovereign.servicePort" . }}
{{- end -}}
