. "$CONTENDERS/restic.sh"
ABOUT="restic with 32 connections instead of 5"
R="restic -q -o s3.connections=32"
