// A bot beside a Tandem node, on ASP.NET Core 8: dotnet run -- --urls http://127.0.0.1:9442
// The contract is docs/bots.md; BOT_SECRET is what stands in the node's bot.secret_file.
using System;
using System.Collections.Concurrent;
using System.Linq;
using System.Text.Json;
using System.Threading.Tasks;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Tandem;

const int capacity = 50;
const string answer = """{"answer":{"acceptedModalities":["audio"],"mediaConfig":{"@odata.type":"#microsoft.graph.serviceHostedMediaConfig"}}}""";
var calls = new ConcurrentDictionary<string, bool>(); // the calls that are here, by Tandem-Call

var app = WebApplication.CreateBuilder(args).Build();
Contract contract = null;
contract = new Contract(Environment.GetEnvironmentVariable("BOT_SECRET"), Handle);
app.UseTandem("/", contract);
app.MapGet("/health", () => Results.Json(new { load = Math.Min(1, calls.Count / (double)capacity), capacity, draining = false }));
app.Run();

// The bot.
Task<Reply> Handle(HandOver h)
{
    using var body = JsonDocument.Parse(h.Body);
    switch (h.Event)
    {
        case "incoming" or "adopted": calls[h.Call] = true; return Say(h.Rings ? new Reply(200, answer) : new Reply(202));
        case "rejoin": calls[h.Call] = true; return Say(new Reply(202)); // join the meeting anew with h.CallbackUri
        case "lost": Drop(h.Call); return Say(new Reply(202)); // another node's now: let go, do nothing at Graph
        case "update" when Text(body.RootElement, "event") == "confirm": return Say(new Reply(calls.ContainsKey(h.Call) ? 202 : 410));
    }
    var notes = body.RootElement.TryGetProperty("value", out var value) ? value.EnumerateArray().ToArray() : Array.Empty<JsonElement>();
    if (notes.Any(n => Ends(n, h.Call))) Drop(h.Call);
    var joining = notes.Any(n => Text(Data(n), "@odata.type").EndsWith("participantJoiningNotification"));
    return Say(joining ? new Reply(200, """{"@odata.type":"#microsoft.graph.acceptJoinResponse"}""") : new Reply(202));
}

void Drop(string call) { calls.TryRemove(call, out _); contract.Forget(call); }

static Task<Reply> Say(Reply reply) => Task.FromResult(reply);

static JsonElement Data(JsonElement n) => n.TryGetProperty("resourceData", out var d) ? d : default;

static string Text(JsonElement of, string name) =>
    of.ValueKind == JsonValueKind.Object && of.TryGetProperty(name, out var v) && v.ValueKind == JsonValueKind.String ? v.GetString() : "";

// Does the notification tell of the end of this call, and not of one of its operations?
static bool Ends(JsonElement n, string call)
{
    var path = (Text(n, "resource") is { Length: > 0 } r ? r : Text(n, "resourceUrl")).Split('/');
    return path.Length > 1 && path[^2] == "calls" && path[^1].Replace("-", "").Equals(call, StringComparison.OrdinalIgnoreCase)
        && (Text(n, "changeType").Equals("deleted", StringComparison.OrdinalIgnoreCase) || Text(Data(n), "state").Equals("terminated", StringComparison.OrdinalIgnoreCase));
}
