"""A bot beside a Tandem node, with nothing but Python 3.9's own library: python3 bot.py [PORT].

The contract is docs/bots.md; BOT_SECRET is what stands in the node's bot.secret_file."""
import hashlib, hmac, json, os, re, socketserver, sys, threading, time
from http.server import BaseHTTPRequestHandler

CAPACITY = 50
ANSWER = {"answer": {"acceptedModalities": ["audio"], "mediaConfig": {"@odata.type": "#microsoft.graph.serviceHostedMediaConfig"}}}
calls = {}  # the calls that are here, by Tandem-Call: the replies by message id


def handle(event, call, body):
    """The bot: what comes back is the reply's body, or a status."""
    if event in ("incoming", "adopted", "rejoin"):  # twice: the same reply, one call
        calls.setdefault(call, {})
        rings = event == "incoming" or event == "adopted" and body["call"]["state"] == "claimed"
        return ANSWER if rings else 202  # rejoin: join the meeting of body["call"]["thread"] anew here
    if event == "lost":
        calls.pop(call, None)  # another node's now: let go, do nothing at Graph
    if event == "update" and body.get("event") == "confirm":
        return 202 if call in calls else 410  # does it live?
    notes = body.get("value", [])
    if any(ends(n, call) for n in notes):
        calls.pop(call, None)
    joining = any(data(n).get("@odata.type", "").endswith("participantJoiningNotification") for n in notes)
    return {"@odata.type": "#microsoft.graph.acceptJoinResponse"} if joining else 202


def data(n):
    return n["resourceData"] if isinstance(n.get("resourceData"), dict) else {}


def ends(n, call):
    """Does the notification tell of the end of this call, and not of one of its operations?"""
    of = re.search(r"/calls/([^/]+)$", n.get("resource") or n.get("resourceUrl") or "")
    over = n.get("changeType", "").lower() == "deleted" or str(data(n).get("state")).lower() == "terminated"
    return bool(of) and of[1].replace("-", "").lower() == call and over


lock = threading.Lock()  # this bot's work is short; with longer work, one lock for each call


def once(event, call, message, body):
    with lock:
        done = calls.get(call, {})
        if message in done:
            return done[message]
        reply = handle(event, call, body)
        if message and call in calls:
            calls[call][message] = reply
        return reply


SIGNED = ["Event", "Call", "App", "Tenant", "Partition", "Epoch", "Callback-Uri", "Deadline"]


def from_router(h, body):
    secret = os.environ.get("BOT_SECRET")
    stamp = re.fullmatch(r"t=(\d+),v1=([0-9a-f]{64})", h.get("Tandem-Signature", ""))
    if not secret or not stamp:
        return not secret
    lines = "".join(h.get("Tandem-" + n, "") + "\n" for n in SIGNED)
    want = hmac.new(secret.encode(), (stamp[1] + "\n" + lines).encode() + body, hashlib.sha256).hexdigest()
    return abs(time.time() - int(stamp[1])) <= 300 and hmac.compare_digest(want, stamp[2])


class Door(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        self.say({"load": min(1, len(calls) / CAPACITY), "capacity": CAPACITY, "draining": False})

    def do_POST(self):
        body, h = self.rfile.read(int(self.headers["Content-Length"])), self.headers
        if not from_router(h, body):
            return self.say(401)
        try:
            self.say(once(h["Tandem-Event"], h["Tandem-Call"], h["X-Microsoft-Skype-Message-ID"], json.loads(body)))
        except Exception as err:
            print(err, file=sys.stderr)
            self.say(500)  # it comes again

    def say(self, reply):
        status, text = (reply, b"") if isinstance(reply, int) else (200, json.dumps(reply).encode())
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingTCPServer):  # http.server's asks DNS for its own name first
    allow_reuse_address, daemon_threads, request_queue_size = True, True, 128


if __name__ == "__main__":
    door = Server(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 9442), Door)
    print("the bot listens", flush=True)
    door.serve_forever()
