// The contract as a middleware of ASP.NET Core.
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using System.IO;

namespace Tandem;

public static class TandemMiddleware
{
    /// <summary>Takes POSTs to a path as hand-overs; everything else goes on.</summary>
    public static IApplicationBuilder UseTandem(this IApplicationBuilder app, PathString path, Contract contract) => app.Use(async (context, next) =>
    {
        if (!HttpMethods.IsPost(context.Request.Method) || context.Request.Path != path) { await next(); return; }
        using var body = new MemoryStream();
        await context.Request.Body.CopyToAsync(body, context.RequestAborted);
        var headers = context.Request.Headers;
        var reply = await contract.Take(name => headers.TryGetValue(name, out var value) ? value.ToString() : null, body.ToArray());
        context.Response.StatusCode = reply.Status;
        if (reply.Body == "") return;
        context.Response.ContentType = "application/json";
        await context.Response.WriteAsync(reply.Body);
    });
}
