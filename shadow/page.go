package shadow

import (
	"encoding/json"
	"html/template"
	"net/http"
)

// page renews itself; it loads nothing.
var page = template.Must(template.New("page").Parse(`<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="5">
<title>tandem shadow</title><style>body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}table{border-collapse:collapse;margin:1rem 0;width:100%}
th,td{text-align:left;padding:.2rem 1rem .2rem 0;border-bottom:1px solid #ccc;vertical-align:top}</style></head><body>
<h1>What Tandem would have spared you</h1><p>{{.Since.Format "2006-01-02 15:04:05Z07:00"}} to {{.At.Format "2006-01-02 15:04:05Z07:00"}} · <a href="report.json">report.json</a></p>
<table><thead><tr><th scope="col">What</th><th scope="col">Today</th><th scope="col">With Tandem</th></tr></thead><tbody>
{{range .Lines}}<tr><th scope="row">{{.What}}</th><td>{{.Figure}}</td><td>{{.Tandem}}</td></tr>
{{end}}</tbody></table>
{{if .Instances}}<h2>Instances</h2><table><thead><tr><th scope="col">Instance</th><th scope="col">Calls it took</th><th scope="col">Later notifications</th><th scope="col">Of other instances' calls</th></tr></thead><tbody>
{{range $name, $i := .Instances}}<tr><th scope="row">{{$name}}</th><td>{{$i.Calls}}</td><td>{{$i.Later}}</td><td>{{$i.Strange}}</td></tr>
{{end}}</tbody></table>{{end}}
{{if .Examples}}<h2>The newest calls with something wrong</h2><table><thead><tr><th scope="col">Last seen</th><th scope="col">Call</th><th scope="col">What</th></tr></thead><tbody>
{{range .Examples}}<tr><td>{{.Last.Format "15:04:05.000"}}</td><td>{{.Call}}</td><td>{{if .TakenBy}}taken by {{.TakenBy}}; {{end}}{{if .Misrouted}}{{.Misrouted}} misrouted ({{range $n, $c := .LaterAt}}{{$n}}: {{$c}} {{end}}); {{end}}{{if .Split}}at several instances; {{end}}{{if .HandledTwice}}{{.HandledTwice}} handled twice; {{end}}{{if .AnsweredAfterSeconds}}answered after {{printf "%.1f" .AnsweredAfterSeconds}} s; {{end}}{{if .Unanswered}}never answered; {{end}}{{if .NeverTaken}}never taken; {{end}}{{if .NotificationsLost}}{{.NotificationsLost}} notifications lost{{end}}</td></tr>
{{end}}</tbody></table>{{end}}</body></html>
`))

// Page shows the report as it is now: / for people, /report.json for programs.
func (p *Proxy) Page() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
		h.Set("Cache-Control", "no-store")
		_ = page.Execute(w, p.Report()) // the reader left
	})
	mux.HandleFunc("GET /report.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_ = json.NewEncoder(w).Encode(p.Report())
	})
	return mux
}
