. "$CONTENDERS/../contenders/restic.sh"
export RESTIC_REPOSITORY=s3:$S3_URL/$BUCKET/repo
