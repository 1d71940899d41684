package pgtest

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// NewDatabase makes an empty database and returns its DSN as a URL. It takes a tenth to a third of a second, for the
// 300 files of a database. A name that is there already is an error.
func (s *Server) NewDatabase(name string) (string, error) {
	// No client can be connected to template0, so that copying it never fails with "is being accessed by other users".
	if _, err := s.query("CREATE DATABASE " + quote(name) + " TEMPLATE template0"); err != nil {
		return "", err
	}
	return s.DSN(Database(name)), nil
}

// DropDatabase removes a database, with the connections that are open to it.
func (s *Server) DropDatabase(name string) error {
	_, err := s.query("DROP DATABASE IF EXISTS " + quote(name) + " WITH (FORCE)")
	return err
}

func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// query runs one statement in the server's own database and returns the first column of the first row, or "". It opens a
// connection for it, by the socket if there is one.
func (s *Server) query(text string) (string, error) {
	session, err := s.session(s.address.database)
	if err != nil {
		return "", err
	}
	defer session.close()
	return session.text(text)
}

// A session is one connection to a server, whose statements take a minute at most. It goes by the socket where there is one, and
// by the simple protocol. It has no goroutine, so that a test that counts them may have one kept.
type session struct{ conn *pgconn.PgConn }

func (s *Server) session(database string) (*session, error) {
	opts := []DSNOption{Database(database)}
	if socket := s.Socket(); socket != "" {
		opts = append(opts, Via(socket))
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgconn.Connect(ctx, s.DSN(opts...))
	if err != nil {
		return nil, fmt.Errorf("pgtest: %w", err)
	}
	return &session{conn}, nil
}

func (s *session) close() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s.conn.Close(ctx)
}

func (s *session) exec(text string) error {
	_, err := s.text(text)
	return err
}

// text is the first value of a query, "" for NULL and where there is none.
func (s *session) text(query string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	results, err := s.conn.Exec(ctx, query).ReadAll()
	if err != nil {
		return "", fmt.Errorf("pgtest: %.200s: %w", query, err)
	}
	for _, r := range results {
		if len(r.Rows) > 0 {
			return string(r.Rows[0][0]), nil
		}
	}
	return "", nil
}
