. "$CONTENDERS/yester.sh"
ABOUT="yester, logical" KIND=logical
do_backup()  { $Y --quiet backup --type database > "$W/tag/out" && tail -n 1 "$W/tag/out" > "$W/tag/$1"; }
do_restore() { POSTGRES_HOST=$PGHOST POSTGRES_PORT=$RPORT $Y --quiet restore "$(cat "$W/tag/$1")" database/bench; }
