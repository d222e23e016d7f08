package console

import (
	"net/http"
	"net/url"
	"path"
	"strings"
)

// loginBody is what the login page shows.
type loginBody struct {
	Next  string
	Error string
}

// login shows the form and takes the token.
func (c *Console) login(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		c.show(w, r, view{Page: "login", Body: loginBody{Next: inside(r.URL.Query().Get("next"))}}, http.StatusOK)
		return
	case http.MethodPost:
	default:
		c.trouble(w, r, Reader{}, http.StatusMethodNotAllowed, "This page takes a token.")
		return
	}
	if err := r.ParseForm(); err != nil {
		c.show(w, r, view{Page: "login", Body: loginBody{Error: "The form could not be read."}}, http.StatusBadRequest)
		return
	}
	next, token := inside(r.PostForm.Get("next")), strings.TrimSpace(r.PostForm.Get("token"))
	session, status, text := c.source.Login(r, token)
	if session == "" {
		if status == http.StatusUnauthorized {
			text = "This node does not know that token."
		}
		c.show(w, r, view{Page: "login", Body: loginBody{Next: next, Error: text}}, status)
		return
	}
	http.SetCookie(w, &http.Cookie{
		Name: cookieName, Value: session, Path: Root, MaxAge: int(SessionLife.Seconds()),
		HttpOnly: true, Secure: c.secure, SameSite: http.SameSiteStrictMode,
	})
	http.Redirect(w, r, next, http.StatusSeeOther)
}

// forget takes the cookie back.
func (c *Console) forget(w http.ResponseWriter) {
	http.SetCookie(w, &http.Cookie{Name: cookieName, Path: Root, MaxAge: -1, HttpOnly: true, Secure: c.secure, SameSite: http.SameSiteStrictMode})
}

// inside returns a place within the console, whatever was asked: a login must lead
// to no other site, and to no other path of this one. Browsers take dots out of a
// path, escaped ones, too.
func inside(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(u.Path, Root) || strings.Contains(u.Path, "\\") ||
		!strings.HasPrefix(path.Clean(u.Path)+"/", Root) {
		return Root
	}
	return u.RequestURI()
}
