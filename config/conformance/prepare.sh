#!/bin/sh
# Makes what the files of this folder refer to, in build/conformance: secrets, a self-signed certificate, and suite.json with the
# secrets in it. Run it at the top of the project; it keeps what is there.
set -eu
here=config/conformance
to=build/conformance
mkdir -p "$to/secrets"
chmod 700 "$to" "$to/secrets"
for who in first second post provider; do
  [ -s "$to/secrets/$who" ] || (umask 077 && openssl rand -hex 32 > "$to/secrets/$who")
done
[ -s "$to/tls.key" ] || (umask 077 && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 90 \
  -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout "$to/tls.key" -out "$to/tls.crt" 2>/dev/null)
cp "$here/stafett.yaml" "$here/nginx.conf" "$to/"
sed -e "s/SECRET_FIRST/$(cat "$to/secrets/first")/" -e "s/SECRET_SECOND/$(cat "$to/secrets/second")/" \
  -e "s/SECRET_POST/$(cat "$to/secrets/post")/" "$here/suite.json" > "$to/suite.json"
chmod 600 "$to/suite.json"
echo "ready: $to"
