// The contract of Tandem's bot door (docs/bots.md) without any web framework: .NET 8 and
// .NET Framework 4.7.2 take it alike. What stands around it is TandemMiddleware.cs for
// ASP.NET Core, or Loopback.cs for plain HttpListener.
using System;
using System.Collections.Concurrent;
using System.Security.Cryptography;
using System.Text;
using System.Threading;
using System.Threading.Tasks;

namespace Tandem
{
    /// <summary>One notification of a call, or one event of Tandem's own.</summary>
    public sealed class HandOver
    {
        public string Event, Call, App, Tenant, Partition, Epoch, CallbackUri, Deadline, MessageId;
        public byte[] Body;

        /// <summary>It rings: answer, reject, or answer at Graph yourself, until Deadline.</summary>
        public bool Rings { get { return Event == "incoming" || (Event == "adopted" && Deadline != null); } }
    }

    /// <summary>What goes back: 2xx and 4xx end the matter, 5xx brings it again.</summary>
    public sealed class Reply
    {
        public readonly int Status;
        public readonly string Body;
        public Reply(int status, string body = "") { Status = status; Body = body; }
    }

    /// <summary>Takes hand-overs: signed, in order for one call, and each message once.</summary>
    public sealed class Contract
    {
        private sealed class Turn
        {
            public readonly SemaphoreSlim Gate = new SemaphoreSlim(1);
            public readonly ConcurrentDictionary<string, Reply> Done = new ConcurrentDictionary<string, Reply>();
        }

        private static readonly string[] Signed = { "Event", "Call", "App", "Tenant", "Partition", "Epoch", "Callback-Uri", "Deadline" };
        private readonly ConcurrentDictionary<string, Turn> turns = new ConcurrentDictionary<string, Turn>();
        private readonly string secret;
        private readonly Func<HandOver, Task<Reply>> bot;

        /// <param name="secret">the text of bot.secret_file; null: nothing is signed</param>
        /// <param name="bot">the bot itself</param>
        public Contract(string secret, Func<HandOver, Task<Reply>> bot) { this.secret = secret; this.bot = bot; }

        /// <summary>Forget a call that is over, with what was remembered of its messages.</summary>
        public void Forget(string call) { Turn t; turns.TryRemove(call, out t); }

        /// <summary>Take one request; header returns null for a header that is absent.</summary>
        public async Task<Reply> Take(Func<string, string> header, byte[] body)
        {
            if (!FromRouter(header, body)) return new Reply(401);
            var h = new HandOver
            {
                Event = header("Tandem-Event"), Call = header("Tandem-Call"), App = header("Tandem-App"), Tenant = header("Tandem-Tenant"),
                Partition = header("Tandem-Partition"), Epoch = header("Tandem-Epoch"), CallbackUri = header("Tandem-Callback-Uri"),
                Deadline = header("Tandem-Deadline"), MessageId = header("X-Microsoft-Skype-Message-ID"), Body = body,
            };
            if (h.Event == null || h.Call == null) return new Reply(400);
            Turn turn = turns.GetOrAdd(h.Call, _ => new Turn());
            await turn.Gate.WaitAsync().ConfigureAwait(false);
            try
            {
                Reply reply;
                if (h.MessageId != null && turn.Done.TryGetValue(h.MessageId, out reply)) return reply;
                reply = await bot(h).ConfigureAwait(false);
                if (h.MessageId != null && reply.Status < 500) turn.Done[h.MessageId] = reply;
                return reply;
            }
            finally { turn.Gate.Release(); }
        }

        private bool FromRouter(Func<string, string> header, byte[] body)
        {
            if (string.IsNullOrEmpty(secret)) return true;
            string[] parts = (header("Tandem-Signature") ?? "").Split(new[] { "t=", ",v1=" }, StringSplitOptions.None);
            long unix;
            if (parts.Length != 3 || !long.TryParse(parts[1], out unix)) return false;
            if (Math.Abs((DateTimeOffset.UtcNow - DateTimeOffset.FromUnixTimeSeconds(unix)).TotalMinutes) > 5) return false;
            var lines = new StringBuilder(parts[1] + "\n");
            foreach (string name in Signed) lines.Append(header("Tandem-" + name)).Append('\n');
            byte[] head = Encoding.UTF8.GetBytes(lines.ToString());
            byte[] text = new byte[head.Length + body.Length];
            head.CopyTo(text, 0);
            body.CopyTo(text, head.Length);
            using (var mac = new HMACSHA256(Encoding.UTF8.GetBytes(secret)))
            {
                string want = BitConverter.ToString(mac.ComputeHash(text)).Replace("-", "").ToLowerInvariant();
                int differs = want.Length ^ parts[2].Length;
                for (int i = 0; i < want.Length && i < parts[2].Length; i++) differs |= want[i] ^ parts[2][i];
                return differs == 0;
            }
        }
    }
}
