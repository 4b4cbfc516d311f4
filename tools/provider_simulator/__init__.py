"""Providers that cost nothing: real HTTP servers that behave as the documents of kie, apixo, crun, wiro and self-hosted
Wan servers say, with an account that survives being killed, and with every fault that a buyer has to stand.

Written from those documents alone. Nothing here imports the farm's codecs: two readings of one text are a test.

    python -m tools.provider_simulator --dialect kie --port 9001 --folder /tmp/kie
"""
