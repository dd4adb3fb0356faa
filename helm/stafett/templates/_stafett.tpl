{{/* Names and labels. 45 characters leave room for what a cron job appends to its jobs. */}}
{{- define "stafett.fullname" -}}
{{- $name := ternary .Release.Name (printf "%s-stafett" .Release.Name) (contains "stafett" .Release.Name) -}}
{{- $name | trunc 45 | trimSuffix "-" -}}
{{- end -}}

{{- define "stafett.selector" -}}
app.kubernetes.io/name: stafett
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "stafett.labels" -}}
{{ include "stafett.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "stafett.trustConfig" -}}
{{ .Values.trustConfig | default (.Files.Get "files/stafett.yaml") }}
{{- end -}}

{{/* What the chart has to know of the trust config, as JSON: host, port and the port for metrics (0: none). The broker itself
     checks everything else. */}}
{{- define "stafett.facts" -}}
{{- $config := include "stafett.trustConfig" . | fromYaml -}}
{{- with $config.Error }}{{ fail (printf "trustConfig is not YAML: %s" .) }}{{ end -}}
{{- $broker := $config.broker | default dict -}}
{{- $listen := $broker.listen | default dict -}}
{{- $issuer := $broker.issuer | default "" | toString -}}
{{- if not (regexMatch "^https?://[a-z0-9.-]+(:[0-9]+)?$" $issuer) -}}
{{- fail "trustConfig: broker.issuer must be the broker's address, such as https://login.example.com, with a host name an ingress can serve" -}}
{{- end -}}
{{- if eq ($config.mode | default "production" | toString) "development" -}}
{{- fail "trustConfig: mode: development is for one machine; remove the line, and lift single refusals with accept_risks while staging" -}}
{{- end -}}
{{- if not (has ($listen.host | default "127.0.0.1") (list "0.0.0.0" "::")) -}}
{{- fail "trustConfig: broker.listen.host must be 0.0.0.0 or \"::\"; else nobody outside the pod reaches the broker" -}}
{{- end -}}
{{- $port := $listen.port | default 8700 | int -}}
{{- if lt $port 1024 -}}
{{- fail "trustConfig: broker.listen.port must be 1024 or higher: the pod has no privilege to listen below" -}}
{{- end -}}
{{- $metrics := dig "telemetry" "metrics" dict $broker -}}
{{- $metricsListen := $metrics.listen | default dict -}}
{{- if and $metrics.enabled (not (has ($metricsListen.host | default "127.0.0.1") (list "0.0.0.0" "::"))) -}}
{{- fail "trustConfig: broker.telemetry.metrics.listen.host must be 0.0.0.0 or \"::\"; else nobody outside the pod reads the metrics" -}}
{{- end -}}
{{- if lt (int .Values.terminationGracePeriodSeconds) (add (int .Values.drainSeconds) 15 | int) -}}
{{- fail "terminationGracePeriodSeconds must be at least drainSeconds + 15: the broker takes up to 10 seconds to finish what is under way" -}}
{{- end -}}
{{- $host := regexFind "^[a-z0-9.-]+" (regexReplaceAll "^https?://" $issuer "") -}}
{{- $metricsPort := ternary ($metricsListen.port | default 9464 | int) 0 ($metrics.enabled | default false) -}}
{{- dict "issuer" $issuer "host" $host "port" $port "metricsPort" $metricsPort | toJson -}}
{{- end -}}

{{/* The keys of a config map have no slashes: schemas/a.json is kept as schemas_a.json and mounted as it was. */}}
{{- define "stafett.configContent" -}}
data:
  # The 2 keeps a first line that is indented from being taken for the indentation of all.
  stafett.yaml: |2
    {{- include "stafett.trustConfig" . | nindent 4 }}
  {{- range $path, $text := .Values.files }}
  {{ replace "/" "_" $path }}: |2
    {{- $text | nindent 4 }}
  {{- end }}
{{- with .Values.binaryFiles }}
binaryData:
  {{- range $path, $content := . }}
  {{ replace "/" "_" $path }}: {{ $content | quote }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* What every pod is. Takes a dict: root; configMap, the name of the one with the trust config. */}}
{{- define "stafett.pod" -}}
{{- $values := .root.Values -}}
automountServiceAccountToken: false
# Variables made from service names begin with the release's name, and could be taken for settings.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ $values.user }}
  runAsGroup: {{ $values.user }}
  fsGroup: {{ $values.user }}
  seccompProfile:
    type: RuntimeDefault
{{- with $values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
volumes:
  - name: config
    projected:
      # 0440: for the broker's group and nobody else; the broker refuses secrets that everybody can read.
      defaultMode: 288
      sources:
        - configMap:
            name: {{ .configMap }}
            items:
              - {key: stafett.yaml, path: stafett.yaml}
              {{- range $path, $_ := merge dict $values.files $values.binaryFiles }}
              - {key: {{ replace "/" "_" $path | quote }}, path: {{ $path | quote }}}
              {{- end }}
        {{- range $path, $from := $values.secretFiles }}
        - secret:
            name: {{ $from.secret }}
            items:
              - {key: {{ $from.key | quote }}, path: {{ $path | quote }}}
        {{- end }}
  - name: tmp
    emptyDir:
      medium: Memory
      sizeLimit: 16Mi
{{- with $values.signingKeys.claim }}
  - name: signing-keys
    persistentVolumeClaim:
      claimName: {{ . }}
{{- end }}
{{- end -}}

{{/* What every container of ours is. */}}
{{- define "stafett.container" -}}
name: stafett
{{- $image := .Values.image }}
image: {{ ternary (printf "%s@%s" $image.repository $image.digest) (printf "%s:%s" $image.repository (default .Chart.AppVersion $image.tag)) (ne $image.digest "") | quote }}
imagePullPolicy: {{ $image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
env:
  - name: STAFETT_CONFIG
    value: /etc/stafett/stafett.yaml
  {{- range $name, $value := .Values.env }}
  - name: {{ $name }}
    value: {{ $value | quote }}
  {{- end }}
  {{- range $name, $from := .Values.secretEnv }}
  - name: {{ $name }}
    valueFrom:
      secretKeyRef: {name: {{ $from.secret }}, key: {{ $from.key | quote }}}
  {{- end }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
volumeMounts:
  - {name: config, mountPath: /etc/stafett, readOnly: true}
  - {name: tmp, mountPath: /tmp}
  {{- if .Values.signingKeys.claim }}
  - {name: signing-keys, mountPath: /var/lib/stafett/keys}
  {{- end }}
{{- end -}}
