#!/bin/sh
# runc, but for capabilities that this machine does not give to root. dockerd asks for all that the kernel knows when a
# container is privileged, and runc refuses to start one with what it cannot have.
previous=
for word; do
  case $previous in
    --bundle) file=$word/config.json path=.process ;;
    --process) file=$word path= ;;
  esac
  previous=$word
done
if [ -n "$file" ]; then
  has=$(setpriv --dump | sed -n 's/^Capability bounding set: //p')
  jq --arg has "$has" "
    (\$has | ascii_upcase | split(\",\") | map(\"CAP_\" + .)) as \$has |
    if $path.capabilities then $path.capabilities |= map_values(map(select(IN(\$has[])))) else . end
  " "$file" >"$file.fewer" && mv "$file.fewer" "$file" || exit 1
fi
exec runc "$@"
