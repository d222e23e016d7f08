// Command go is a bot beside a Tandem node, with nothing but Go's own library: go run
// ./examples/go [PORT]. The contract is docs/bots.md; BOT_SECRET is what stands in the
// node's bot.secret_file.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"sync"
)

const capacity = 50

const answer = `{"answer":{"acceptedModalities":["audio"],"mediaConfig":{"@odata.type":"#microsoft.graph.serviceHostedMediaConfig"}}}`

// bot knows the calls that are here.
type bot struct {
	mu    sync.Mutex
	calls map[string]bool // by Tandem-Call
}

// handle is the bot: status and body of the reply. Whatever comes twice is taken twice
// and done once; this bot's work is short, with longer work take a lock for each call.
func (b *bot) handle(event, call string, n notification) (int, string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	known := b.calls[call]
	switch event {
	case "incoming": // twice: the same reply, one call
		b.calls[call] = true
		return http.StatusOK, answer
	case "adopted": // this node's now; it may still ring
		b.calls[call] = true
		if n.Call.State == "claimed" {
			return http.StatusOK, answer
		}
	case "rejoin": // its media died: join the meeting n.Call.Thread anew here
		b.calls[call] = true
	case "lost": // another node's now: let go, do nothing at Graph
		delete(b.calls, call)
	case "update":
		if n.Event == "confirm" && !known { // does it live?
			return http.StatusGone, ""
		}
		if n.ends(call) {
			delete(b.calls, call)
		}
		if n.joining() {
			return http.StatusOK, `{"@odata.type":"#microsoft.graph.acceptJoinResponse"}`
		}
	}
	return http.StatusAccepted, ""
}

func (b *bot) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.Method == http.MethodGet {
		b.mu.Lock()
		load := min(1, float64(len(b.calls))/capacity)
		b.mu.Unlock()
		fmt.Fprintf(w, `{"load":%.2f,"capacity":%d,"draining":false}`, load, capacity)
		return
	}
	var n notification
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 2<<20))
	if err != nil || json.Unmarshal(body, &n) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if !fromRouter(os.Getenv("BOT_SECRET"), r.Header, body) {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	status, reply := b.handle(r.Header.Get("Tandem-Event"), r.Header.Get("Tandem-Call"), n)
	w.WriteHeader(status)
	_, _ = io.WriteString(w, reply) // a router that left asks again
}

func main() {
	port := "9442"
	if len(os.Args) > 1 {
		port = strings.TrimSpace(os.Args[1])
	}
	fmt.Println("the bot listens")
	log.Fatal(http.ListenAndServe("127.0.0.1:"+port, &bot{calls: map[string]bool{}}))
}
