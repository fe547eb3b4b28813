# SPDX-License-Identifier: Apache-2.0
#
# Verifies messages with dkimpy. It reads lines of JSON, {"message": base64,
# "records": {NAME: TXT}}, and answers each with the validity of the message's
# signatures, in their order.
import base64
import json
import sys

import dkim

for line in sys.stdin:
    case = json.loads(line)
    records = case["records"]

    def dnsfunc(name, timeout=5):
        if isinstance(name, bytes):
            name = name.decode()
        return records.get(name.rstrip("."), "").encode()

    message = base64.b64decode(case["message"])
    result = []
    try:
        d = dkim.DKIM(message)
        count = sum(1 for name, _ in d.headers if name.lower() == b"dkim-signature")
    except dkim.DKIMException as e:
        print("reading:", e, file=sys.stderr)
        count = 0
    for i in range(count):
        try:
            result.append(bool(dkim.DKIM(message, minkey=2048).verify(idx=i, dnsfunc=dnsfunc)))
        except dkim.DKIMException as e:
            print("verifying:", e, file=sys.stderr)
            result.append(False)
    print(json.dumps(result), flush=True)
