#!/usr/bin/env python3
"""tally — count test cases: prints "PASSED FAILED SKIPPED" for the given result files.

Reads meson's testlog.json (one JSON object a line; a cmocka program counts with its cases, any
other as one) and the JUnit XML that pytest writes.  A file that is missing counts as one failure:
whoever should have written it died.
"""
import json
import re
import sys
import xml.etree.ElementTree as xml

CASES = re.compile(r"\[  (PASSED|FAILED|SKIPPED) +\] (\d+) test\(s\)")


def meson(path):
    total = [0, 0, 0]
    with open(path, encoding="utf-8", errors="replace") as f:
        for line in f:
            result = json.loads(line)
            said = result.get("stdout", "") + result.get("stderr", "")
            cases = {kind: int(n) for kind, n in CASES.findall(said)}
            total[0] += cases.get("PASSED", 0)
            total[1] += cases.get("FAILED", 0)
            total[2] += cases.get("SKIPPED", 0)
            if result["result"] == "SKIP":
                total[2] += not cases
            elif result["result"] in ("OK", "EXPECTEDFAIL"):
                total[0] += not cases
            elif not cases.get("FAILED"):
                total[1] += 1
    return total


def junit(path):
    total = [0, 0, 0]
    for suite in xml.parse(path).getroot().iter("testsuite"):
        failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped = int(suite.get("skipped", 0))
        total[0] += int(suite.get("tests", 0)) - failed - skipped
        total[1] += failed
        total[2] += skipped
    return total


def main(paths):
    total = [0, 0, 0]
    for path in paths:
        try:
            found = (junit if path.endswith(".xml") else meson)(path)
        except (OSError, ValueError, KeyError, xml.ParseError) as e:
            print(f"tally: {path}: {e}", file=sys.stderr)
            found = [0, 1, 0]
        total = [a + b for a, b in zip(total, found)]
    print(*total)


if __name__ == "__main__":
    main(sys.argv[1:])
