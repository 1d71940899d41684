package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/jmoiron/sqlx"
)

// servedUser is what a client of the HTTP server sends.
type servedUser struct {
	Value int `json:"value" db:"value"`
}

// throughSqlx inserts a user as a program does that uses sqlx.
func (w *work) throughSqlx(plain *sql.DB) func(n int) error {
	// sqlx is told the plain driver's name: it knows the placeholders of those.
	db := sqlx.NewDb(plain, sqliteDriver)
	if strings.Contains(w.insert, "$1") {
		db = sqlx.NewDb(plain, pgxDriver)
	}
	text := "INSERT INTO " + w.table + " (value) VALUES (:value)"
	return func(n int) error {
		_, err := db.NamedExec(text, servedUser{n})
		return err
	}
}

// overHTTP makes each call by a request to a server, whose handler makes the call. The clients are in this program, too, so their
// processor time is in a call's.
func overHTTP(insert func(n int) error, w *work) (call func(n int) error, stop func() error, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	server := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var u servedUser
		err := json.NewDecoder(r.Body).Decode(&u)
		if err == nil {
			err = insert(u.Value)
		}
		if err != nil {
			http.Error(rw, err.Error(), http.StatusInternalServerError)
			return
		}
		rw.WriteHeader(http.StatusNoContent)
	})}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	transport := &http.Transport{MaxIdleConnsPerHost: w.goroutines}
	client := &http.Client{Transport: transport}
	url := "http://" + listener.Addr().String() + "/users"
	call = func(n int) error {
		resp, err := client.Post(url, "application/json", bytes.NewReader(fmt.Appendf(nil, `{"value":%d}`, n)))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		said, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != http.StatusNoContent {
			err = fmt.Errorf("user %d: %s: %s", n, resp.Status, bytes.TrimSpace(said))
		}
		return err
	}
	stop = func() error {
		transport.CloseIdleConnections()
		err := server.Shutdown(context.Background())
		if end := <-ended; !errors.Is(end, http.ErrServerClosed) {
			err = errors.Join(err, end)
		}
		return err
	}
	return call, stop, nil
}
