import hashlib
import json
import os
import sys

print("python", sys.version.split()[0], "on", sys.platform)
print("sum of squares", sum(n * n for n in range(1, 1001)))
print("listing", json.dumps(sorted(os.listdir("/data"))))
with open("/data/notes.txt", "rb") as notes:
    print("sha256", hashlib.sha256(notes.read()).hexdigest())
try:
    os.listdir("/")
    print("the root is visible")
except OSError:
    print("the root is not visible")
