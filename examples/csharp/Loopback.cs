// A bot on plain HttpListener, for .NET Framework and Mono, where ASP.NET Core is not:
// Loopback.exe [PORT]. With .NET 8 take Program.cs.
using System;
using System.Collections.Concurrent;
using System.IO;
using System.Net;
using System.Text;
using System.Threading.Tasks;

namespace Tandem
{
    public static class Loopback
    {
        private const int Capacity = 50;
        private const string Answer = "{\"answer\":{\"acceptedModalities\":[\"audio\"],\"mediaConfig\":{\"@odata.type\":\"#microsoft.graph.serviceHostedMediaConfig\"}}}";
        private static readonly ConcurrentDictionary<string, bool> Calls = new ConcurrentDictionary<string, bool>();

        private static readonly Contract Contract = new Contract(Environment.GetEnvironmentVariable("BOT_SECRET"), Bot);

        // The bot.
        private static Task<Reply> Bot(HandOver h)
        {
            bool ignored;
            if (h.Event == "incoming" || h.Event == "adopted" || h.Event == "rejoin") Calls[h.Call] = true;
            if (h.Event == "lost" || (h.Event == "update" && Ends(h))) Calls.TryRemove(h.Call, out ignored);
            if (!Calls.ContainsKey(h.Call)) Contract.Forget(h.Call);
            return Task.FromResult(h.Rings ? new Reply(200, Answer) : new Reply(202));
        }

        // A look at the text; with a JSON reader do as Program.cs does.
        private static bool Ends(HandOver h)
        {
            string text = Encoding.UTF8.GetString(h.Body).Replace("-", "").ToLowerInvariant();
            return text.Contains("/calls/" + h.Call + "\"") && (text.Contains("\"changetype\":\"deleted\"") || text.Contains("\"state\":\"terminated\""));
        }

        public static void Main(string[] args)
        {
            var listener = new HttpListener();
            listener.Prefixes.Add("http://127.0.0.1:" + (args.Length > 0 ? args[0] : "9442") + "/");
            listener.Start();
            Console.WriteLine("the bot listens");
            for (;;) { HttpListenerContext one = listener.GetContext(); Task.Run(() => Serve(one)); }
        }

        private static async Task Serve(HttpListenerContext c)
        {
            try
            {
                Reply reply;
                if (c.Request.HttpMethod == "GET")
                    reply = new Reply(200, "{\"load\":" + Math.Min(1, Calls.Count / (double)Capacity).ToString("0.##", System.Globalization.CultureInfo.InvariantCulture) + ",\"capacity\":" + Capacity + ",\"draining\":false}");
                else
                {
                    var body = new MemoryStream();
                    await c.Request.InputStream.CopyToAsync(body);
                    reply = await Contract.Take(name => c.Request.Headers[name], body.ToArray());
                }
                byte[] text = Encoding.UTF8.GetBytes(reply.Body);
                c.Response.StatusCode = reply.Status;
                c.Response.ContentType = "application/json";
                c.Response.ContentLength64 = text.Length;
                c.Response.OutputStream.Write(text, 0, text.Length);
                c.Response.Close();
            }
            catch (Exception e) { Console.Error.WriteLine(e); c.Response.Abort(); } // it comes again
        }
    }
}
