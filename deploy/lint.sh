#!/usr/bin/env bash
# Checks what lies under deploy/: the manifests against the schemas of Kubernetes, every object as the kustomizations make it
# where kubectl is there; the units with systemd-analyze where that is there. What cannot be checked here is named.
# Exit code 1: something is wrong; 3: a tool that must be there could not be had.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
validator=1.34.1   # of PyPI's kubernetes-validate, which carries the schemas
kubernetes=1.34

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

tools=${XDG_CACHE_HOME:-$HOME/.cache}/millrace/kubernetes-validate-$validator
if [ ! -x "$tools/bin/kubernetes-validate" ]; then
  rm -rf "$tools"
  { python3 -m venv "$tools" && "$tools/bin/pip" install --quiet --disable-pip-version-check "kubernetes-validate==$validator" setuptools; } ||
    { echo "kubernetes-validate $validator cannot be installed: python3 with venv and PyPI are needed" >&2; rm -rf "$tools"; exit 3; }
fi

failed=0
manifests=$(find kubernetes -name '*.yaml' ! -path '*/project/*' ! -name kustomization.yaml ! -name kafka-strimzi.yaml | sort)
# shellcheck disable=SC2086
"$tools/bin/kubernetes-validate" --strict --kubernetes-version "$kubernetes" --quiet $manifests || failed=1
echo "checked against Kubernetes $kubernetes: $(wc -w <<<"$manifests") files"
if command -v kubectl >/dev/null; then
  for folder in kubernetes kubernetes/flink; do
    kubectl kustomize "$folder" >"$work/all.yaml" && "$tools/bin/kubernetes-validate" --strict --kubernetes-version "$kubernetes" --quiet "$work/all.yaml" || failed=1
    echo "checked as kustomize makes it: $folder, $(grep -c '^kind:' "$work/all.yaml") objects"
  done
else
  echo "not checked: kustomization.yaml, for want of kubectl"
fi
echo "not checked: kubernetes/kafka-strimzi.yaml, whose kinds are Strimzi's own"

if command -v systemd-analyze >/dev/null; then
  cp -r systemd "$work/systemd"
  sed -i "s#/usr/local/bin/millrace#$(command -v true)#" "$work"/systemd/*.service # the program need not be installed here
  said=$(systemd-analyze verify --man=no "$work"/systemd/*.service 2>&1) || failed=1
  [ -z "$said" ] || { echo "$said"; failed=1; } # of a key it does not know it only warns
  for unit in "$work"/systemd/*.service; do # 10 is a service without any hardening
    systemd-analyze security --offline=yes --threshold=20 "$unit" >"$work/exposure" || { tail -n 1 "$work/exposure"; failed=1; }
  done
  echo "checked by systemd-analyze: $(find systemd -name '*.service' | wc -l) units"
else
  echo "not checked: systemd/, for want of systemd-analyze"
fi
exit $failed
