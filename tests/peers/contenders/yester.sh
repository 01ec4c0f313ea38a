ABOUT="yester"
ENC=yes MOUNT=yes DIFF=yes
export YESTER_REPO=$W/repo YESTER_KEY_FILE=$W/key YESTER_CONFIG=/dev/null XDG_CACHE_HOME=$W/cache
Y=${YESTER:-yester}
do_init()    { mkdir -p "$W/tag"; (umask 077; openssl rand -base64 32 > "$W/key"); $Y init; }   # 32 random bytes: no passphrase to stretch
do_backup()  { $Y --quiet backup --type files --no-default-excludes "$1" > "$W/tag/out" && tail -n 1 "$W/tag/out" > "$W/tag/$2" && printf %s "$1" > "$W/tag/source"; }
do_restore() { $Y --quiet restore "$(cat "$W/tag/$1"):files$(cat "$W/tag/source")" --target "$2"; }
do_mount()   { exec $Y mount -f "$2"; }
do_root()    { echo "$2/$(cat "$W/tag/$1")/files$(cat "$W/tag/source")"; }
do_diff()    { $Y --quiet diff "$(cat "$W/tag/$1")" "$(cat "$W/tag/$2")"; }
