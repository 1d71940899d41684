package debug

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"html/template"
	"net/http"
	"strconv"
)

var (
	//go:embed page.html
	pageHTML string
	//go:embed page.css
	pageCSS string
	//go:embed page.js
	pageJS string
)

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"style":  func() template.CSS { return template.CSS(pageCSS) },
	"script": func() template.JS { return template.JS(pageJS) },
}).Parse(pageHTML))

// policy lets the page have its own script and style, by their digests, and nothing else but its own address.
var policy = "default-src 'none'; script-src " + digest(pageJS) + "; style-src " + digest(pageCSS) +
	"; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

func digest(text string) string {
	d := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(d[:]) + "'"
}

// ServeHTTP serves the page of the database that the parameter db names, or of the first one; with format=json what the page's script polls. It
// does not look at the path. Only GET and HEAD are allowed.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", policy)
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "only GET and HEAD are allowed", http.StatusMethodNotAllowed)
		return
	}
	query := r.URL.Query()
	report, ok := p.report(query.Get("db"))
	var body bytes.Buffer
	var err error
	if query.Get("format") == "json" {
		h.Set("Content-Type", "application/json")
		err = json.NewEncoder(&body).Encode(report)
	} else {
		h.Set("Content-Type", "text/html; charset=utf-8")
		err = pageTemplate.Execute(&body, report)
	}
	if err != nil { // neither has a value that can fail
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	h.Set("Content-Length", strconv.Itoa(body.Len()))
	if !ok && query.Get("db") != "" {
		w.WriteHeader(http.StatusNotFound)
	}
	if r.Method != http.MethodHead {
		w.Write(body.Bytes()) // who has gone away needs no answer
	}
}
