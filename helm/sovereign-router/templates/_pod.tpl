{{/*
The pod. Its three containers are one image:

1. `render` writes Envoy's bootstrap for this sovereign.yaml, and ends.
2. `processor` decides about every call. It is a sidecar (an init container that stays): Kubernetes starts Envoy when it answers, and stops it
   when Envoy is gone, so that every call that Envoy took can be brought to its end and written down.
3. `envoy` faces clients.

Processor and Envoy meet in /run/sovereign: Unix sockets, and the files that the processor keeps for Envoy. Nothing there is secret.
*/}}

{{- define "sovereign.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* What every pod keeps to, of hooks and tests too, and where its image comes from. */}}
{{- define "sovereign.everyPod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* Where processor and Envoy meet: options that `processor` and `envoy render` share. */}}
{{- define "sovereign.places" -}}
- --config=/etc/sovereign/config/sovereign.yaml
- --state-dir=/var/lib/sovereign
- --run-dir=/run/sovereign
- --envoy-dir=/run/sovereign/envoy
- --message-timeout-ms={{ int .Values.processor.messageTimeoutMs }}
{{- end -}}

{{- define "sovereign.pod" -}}
{{- $tls := include "sovereign.tlsSecret" . -}}
metadata:
  labels:
    {{- include "sovereign.selector" (list . "gateway") | nindent 4 }}
    {{- with .Values.pod.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    # Everything else of sovereign.yaml is taken up without a restart.
    checksum/fixed: {{ include "sovereign.fixed" . | sha256sum }}
    {{- with .Values.pod.annotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "sovereign.serviceAccount" . }}
  {{- include "sovereign.everyPod" . | nindent 2 }}
  # The drain, then the processor's own end: calls in flight, the log's last batch.
  terminationGracePeriodSeconds: {{ add (int .Values.drain.acceptSeconds) (int .Values.drain.longestStreamSeconds) 60 }}
  initContainers:
    {{- include "sovereign.render" . | nindent 4 }}
    {{- include "sovereign.processor" . | nindent 4 }}
  containers:
    {{- include "sovereign.envoy" . | nindent 4 }}
  volumes:
    - name: config
      configMap: {name: {{ include "sovereign.fullname" . }}}
    - name: run
      emptyDir: {medium: Memory, sizeLimit: 64Mi}
    - name: tmp
      emptyDir: {sizeLimit: 256Mi}
    {{- if $tls }}
    - name: tls
      secret: {secretName: {{ $tls }}, defaultMode: 0440}
    {{- end }}
    {{- with include "sovereign.secretVolumes" . | trim }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- if eq .Values.storage.mode "shared" }}
    - name: shared
      persistentVolumeClaim: {claimName: {{ .Values.storage.shared.claim }}}
    {{- end }}
    {{- if not .Values.storage.persistence.enabled }}
    - name: state
      emptyDir: {}
    {{- end }}
  {{- include "sovereign.placement" . | nindent 2 }}
{{- end -}}

{{- define "sovereign.secretVolumes" -}}
{{- range $at, $each := .Values.secrets.files }}
- name: secret-{{ $at }}
  secret: {secretName: {{ $each.secret }}, defaultMode: 0440}
{{- end }}
{{- end -}}

{{- define "sovereign.secretMounts" -}}
{{- range $at, $each := .Values.secrets.files }}
- {name: secret-{{ $at }}, mountPath: {{ $each.path | quote }}, readOnly: true}
{{- end }}
{{- end -}}

{{- define "sovereign.placement" -}}
{{- with ternary "" (include "sovereign.spread" . | trim) .Values.daemonSet.enabled }}
topologySpreadConstraints:
  {{- . | nindent 2 }}
{{- end }}
{{- with .Values.pod.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.pod.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.pod.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.pod.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{- define "sovereign.spread" -}}
{{- range $key, $when := dict "topology.kubernetes.io/zone" .Values.topologySpread.zones "kubernetes.io/hostname" .Values.topologySpread.nodes }}
{{- if ne $when "none" }}
- maxSkew: 1
  topologyKey: {{ $key }}
  whenUnsatisfiable: {{ $when }}
  labelSelector:
    matchLabels:
      {{- include "sovereign.selector" (list $ "gateway") | nindent 6 }}
{{- end }}
{{- end }}
{{- end -}}
