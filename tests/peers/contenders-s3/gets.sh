ABOUT="plain GETs of the same file, eight at a time, 8 MiB each: no backup, but what server and line allow"
asks() { printf 'user="%s:%s"\naws-sigv4="aws:amz:%s:s3"\nheader="x-amz-content-sha256: UNSIGNED-PAYLOAD"\nsilent\nshow-error\nfail\n' "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY" "$AWS_REGION"; }
do_put() { asks | curl -K - -T "$1" "$S3_URL/$BUCKET/$(basename "$1")"; }
do_get() {
    local size part=$((8 * 1048576)) at
    size=$(stat -c %s "$1")
    for ((at = 0; at < size; at += part)); do
        [ $at = 0 ] || echo next
        asks
        printf 'url="%s"\nrange="%d-%d"\noutput="/dev/null"\n' "$S3_URL/$BUCKET/$(basename "$1")" $at $((at + part < size ? at + part - 1 : size - 1))
    done | curl --parallel --parallel-immediate --parallel-max 8 --no-progress-meter -K -
}
