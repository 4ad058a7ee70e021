#!/usr/bin/env python3
"""A real language model for tests: llama.cpp's server, and Ollama's API in front of it.

    serve.py MODEL.gguf --slots 2 [--template tools.jinja] [--name smollm2]

Both listen on free ports of 127.0.0.1. When the model is loaded one line of JSON says where: `openai`,
`ollama` and `pid`. Ends when standard input does, so that it never outlives who started it.
"""

import argparse
import json
import os
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import xllamacpp

THREADS = 2
CONTEXT_TOKENS = 4096
LOADED_WITHIN_SECS = 120
ATTEMPTS = 3


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def llama(options, port):
    """llama.cpp's server; it runs in threads of its own."""
    params = xllamacpp.CommonParams()
    params.model.path = options.model
    params.model_alias = {options.name}
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_parallel = options.slots
    params.n_ctx = CONTEXT_TOKENS * options.slots
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = THREADS
    params.endpoint_slots = True
    params.ui = False
    params.use_jinja = True
    # Else up to 8 GiB of prompts are kept.
    params.cache_ram_mib = 0
    if options.template:
        params.chat_template = Path(options.template).read_text()
    return xllamacpp.Server(params)


def started(options):
    """The server and its URL. Another may take a port that was free: then another is tried."""
    for attempt in range(ATTEMPTS):
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        try:
            server = llama(options, port)
        except RuntimeError:
            if attempt + 1 == ATTEMPTS:
                raise
            continue
        deadline = time.monotonic() + LOADED_WITHIN_SECS
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
                    if answer.status == 200:
                        return server, url
            except OSError:
                time.sleep(0.05)
    sys.exit("the model did not load")


class Ollama(BaseHTTPRequestHandler):
    """What Ollama answers to `/api/tags` and to `/api/chat` without a stream."""

    protocol_version = "HTTP/1.1"
    backend = name = ""

    def log_message(self, *_):
        pass

    def answer(self, status, body):
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path != "/api/tags":
            return self.answer(404, {"error": "not found"})
        self.answer(200, {"models": [{"name": f"{self.name}:latest", "model": f"{self.name}:latest", "size": 98362432}]})

    def do_POST(self):
        try:
            asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        except ValueError as error:
            return self.answer(400, {"error": str(error)})
        if self.path != "/api/chat":
            return self.answer(404, {"error": "not found"})
        if asked.get("model", "").removesuffix(":latest") != self.name:
            return self.answer(404, {"error": f"model '{asked.get('model')}' not found"})
        if asked.get("tools"):
            return self.answer(400, {"error": f"registry.ollama.ai/library/{self.name}:latest does not support tools"})
        request = urllib.request.Request(f"{self.backend}/v1/chat/completions", json.dumps(translated(asked)).encode(),
                                         {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=600) as reply:
                self.answer(200, as_ollama(asked, json.load(reply)))
        except urllib.error.HTTPError as error:
            self.answer(error.code, {"error": error.read().decode(errors="replace")})
        except OSError as error:
            self.answer(500, {"error": str(error)})


def translated(asked):
    """Ollama's question as OpenAI's API has it."""
    options = asked.get("options", {})
    question = {"messages": asked["messages"], "max_tokens": options.get("num_predict", -1)}
    question |= {name: options[name] for name in ("temperature", "top_p", "seed") if name in options}
    question |= {name: asked[name] for name in ("logprobs", "top_logprobs") if name in asked}
    if isinstance(asked.get("format"), dict):
        schema = {"name": "format", "strict": True, "schema": asked["format"]}
        question["response_format"] = {"type": "json_schema", "json_schema": schema}
    return question


def as_ollama(asked, reply):
    """The answer as Ollama has it."""
    choice, usage = reply["choices"][0], reply["usage"]
    answer = {
        "model": asked["model"],
        "message": {"role": "assistant", "content": choice["message"].get("content") or ""},
        "done": True,
        "done_reason": "length" if choice["finish_reason"] == "length" else "stop",
        "prompt_eval_count": usage["prompt_tokens"],
        "eval_count": usage["completion_tokens"],
    }
    if asked.get("logprobs"):
        part = lambda token: {"token": token["token"], "logprob": token["logprob"]}
        tokens = (choice.get("logprobs") or {}).get("content") or []
        answer["logprobs"] = [part(token) | {"top_logprobs": [part(one) for one in token["top_logprobs"]]}
                              for token in tokens]
    return answer


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--slots", type=int, default=1)
    parser.add_argument("--template")
    parser.add_argument("--name", default="smollm2")
    options = parser.parse_args()
    _server, Ollama.backend = started(options)
    Ollama.name = options.name
    front = ThreadingHTTPServer(("127.0.0.1", 0), Ollama)
    threading.Thread(target=front.serve_forever, daemon=True).start()
    ollama = f"http://127.0.0.1:{front.server_address[1]}"
    print(json.dumps({"openai": Ollama.backend, "ollama": ollama, "pid": os.getpid()}), flush=True)
    sys.stdin.buffer.read()
    # The server's threads would go on.
    os._exit(0)


if __name__ == "__main__":
    main()
