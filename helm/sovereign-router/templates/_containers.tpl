{{/* The containers of the pod: see _pod.tpl. */}}

{{- define "sovereign.container" -}}
image: {{ include "sovereign.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- include "sovereign.securityContext" . | nindent 2 }}
{{- end -}}

{{- define "sovereign.render" -}}
- name: render
  {{- include "sovereign.container" . | nindent 2 }}
  command: [sovereign, envoy, render]
  args:
    - --mode=gateway
    - --out=/run/sovereign
    - --listen=0.0.0.0:{{ include "sovereign.targetPort" . }}
    - --public-port={{ include "sovereign.servicePort" . }}
    {{- include "sovereign.places" . | nindent 4 }}
  resources:
    requests: {cpu: 100m, memory: 128Mi}
    limits: {memory: 512Mi}
  volumeMounts:
    - {name: config, mountPath: /etc/sovereign/config, readOnly: true}
    - {name: run, mountPath: /run/sovereign}
    - {name: tmp, mountPath: /tmp}
{{- end -}}

{{- define "sovereign.processor" -}}
- name: processor
  restartPolicy: Always
  {{- include "sovereign.container" . | nindent 2 }}
  command: [sovereign, processor]
  args:
    {{- include "sovereign.places" . | nindent 4 }}
    - --log-level={{ .Values.processor.logLevel }}
    - --health-listen=0.0.0.0:9465
    {{- if .Values.metrics.enabled }}
    - --metrics-listen=0.0.0.0:9464
    {{- end }}
    {{- if eq .Values.storage.mode "embedded" }}
    - --checkpoint-dir=/var/lib/sovereign-memory/signed
    {{- end }}
  {{- with include "sovereign.processorEnv" . | trim }}
  env:
    {{- . | nindent 4 }}
  {{- end }}
  ports:
    - {name: health, containerPort: 9465}
    {{- if .Values.metrics.enabled }}
    - {name: metrics, containerPort: 9464}
    {{- end }}
  # Envoy waits for the first answer: its files are there then. A large log takes a while to be opened.
  startupProbe:
    grpc: {port: 9465, service: liveness}
    periodSeconds: 1
    failureThreshold: 300
  livenessProbe:
    grpc: {port: 9465, service: liveness}
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 3
  readinessProbe:
    grpc: {port: 9465, service: readiness}
    periodSeconds: 5
    timeoutSeconds: 2
    failureThreshold: 2
  resources:
    {{- toYaml .Values.processor.resources | nindent 4 }}
  volumeMounts:
    - {name: config, mountPath: /etc/sovereign/config, readOnly: true}
    - {name: run, mountPath: /run/sovereign}
    - {name: tmp, mountPath: /tmp}
    - {name: state, mountPath: /var/lib/sovereign}
    {{- if eq .Values.storage.mode "embedded" }}
    - {name: memory, mountPath: /var/lib/sovereign-memory}
    {{- else }}
    - {name: shared, mountPath: /var/lib/sovereign-shared}
    {{- end }}
    {{- with include "sovereign.secretMounts" . | trim }}
    {{- . | nindent 4 }}
    {{- end }}
{{- end -}}

{{- define "sovereign.envoy" -}}
{{- $tls := include "sovereign.tlsSecret" . -}}
- name: envoy
  {{- include "sovereign.container" . | nindent 2 }}
  command: [envoy]
  args:
    - -c
    - /run/sovereign/gateway.yaml
    - --disable-hot-restart
    - --concurrency
    - {{ int .Values.envoy.concurrency | quote }}
    - --log-level
    - {{ .Values.envoy.logLevel }}
    # In a drain, over how long clients are asked to connect anew; the drain's own time without new connections comes after it.
    - --drain-time-s
    - {{ max 1 (int .Values.drain.acceptSeconds) | quote }}
  ports:
    - {name: ingress, containerPort: {{ include "sovereign.targetPort" . }}}
    {{- if include "sovereign.http3" . }}
    - {name: ingress-h3, containerPort: {{ include "sovereign.targetPort" . }}, protocol: UDP}
    {{- end }}
  livenessProbe:
    tcpSocket: {port: ingress}
    periodSeconds: 10
    failureThreshold: 3
  readinessProbe:
    {{- if include "sovereign.clientCertificates" . }}
    tcpSocket: {port: ingress}
    {{- else }}
    httpGet: {path: /healthz, port: ingress, scheme: {{ ternary "HTTPS" "HTTP" (ne $tls "") }}}
    {{- end }}
    periodSeconds: 5
    failureThreshold: 2
  lifecycle:
    preStop:
      exec:
        command:
          - sovereign
          - envoy
          - drain
          - --run-dir=/run/sovereign
          - --accept-s={{ int .Values.drain.acceptSeconds }}
          - --within-s={{ add (int .Values.drain.acceptSeconds) (int .Values.drain.longestStreamSeconds) }}
  resources:
    {{- toYaml .Values.envoy.resources | nindent 4 }}
  volumeMounts:
    - {name: run, mountPath: /run/sovereign}
    - {name: tmp, mountPath: /tmp}
    {{- if $tls }}
    - {name: tls, mountPath: /etc/sovereign/tls, readOnly: true}
    {{- end }}
{{- end -}}

{{- define "sovereign.processorEnv" -}}
{{- include "sovereign.storageEnv" . }}
{{- range .Values.secrets.env }}
{{ include "sovereign.secretEnv" . }}
{{- end }}
{{- range $name, $value := .Values.processor.env }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end -}}
