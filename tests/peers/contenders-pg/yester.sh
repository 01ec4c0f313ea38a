ABOUT="yester, physical"
ENC=yes
export YESTER_REPO=$W/repo YESTER_KEY_FILE=$W/key YESTER_CONFIG=/dev/null XDG_CACHE_HOME=$W/cache
Y=${YESTER:-yester}
do_init()    { mkdir -p "$W/tag"; (umask 077; openssl rand -base64 32 > "$W/key"); $Y init; }
do_backup()  { $Y --quiet backup --type database --physical > "$W/tag/out" && tail -n 1 "$W/tag/out" > "$W/tag/$1"; }
do_restore() { $Y --quiet restore "$(cat "$W/tag/$1")" --type database --data-directory "$2" --to immediate && rstart "$2"; }
