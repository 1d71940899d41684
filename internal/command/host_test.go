package command

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/flight"
	"github.com/groupcommit/groupcommit/internal/turn"
	_ "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// A fakeHost begins transactions of nothing, or of a plain database if it has one.
type fakeHost struct {
	db    *sql.DB
	begin func() error // before each transaction
	enter func() error
}

func (h *fakeHost) DB() *sql.DB                                   { return h.db }
func (h *fakeHost) Leave(*turn.Turn)                              {}
func (h *fakeHost) Patience() (time.Duration, error)              { return 0, nil }
func (h *fakeHost) Transient(error) bool                          { return false }
func (h *fakeHost) Keeps(id string) error                         { return durable.CheckID(id) }
func (h *fakeHost) WithoutID(ctx context.Context) context.Context { return ctx }
func (h *fakeHost) Added()                                        {}
func (h *fakeHost) Traits() *engine.Traits                        { return &engine.Traits{Dialect: engine.SQLiteSQL} }

func (h *fakeHost) Enter(context.Context, *turn.Turn, time.Time) error {
	if h.enter == nil {
		return nil
	}
	return h.enter()
}

func (h *fakeHost) Begin(ctx context.Context, _ *turn.Turn) (Tx, error) {
	if h.begin != nil {
		if err := h.begin(); err != nil {
			return nil, err
		}
	}
	if h.db == nil {
		return &fakeTx{}, nil
	}
	tx, err := h.db.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	return &fakeTx{tx}, nil
}

type fakeTx struct{ tx *sql.Tx }

func (x *fakeTx) SQL() *sql.Tx                        { return x.tx }
func (x *fakeTx) Own(string) error                    { return nil }
func (x *fakeTx) State() (open, idle bool, err error) { return true, false, nil }
func (x *fakeTx) Gone() bool                          { return false }

func (x *fakeTx) Finishes() bool { return false }

func (x *fakeTx) Commit([]engine.Statement) (before, unclear bool, err error) {
	if x.tx == nil {
		return false, false, nil
	}
	return false, false, x.tx.Commit()
}

func (x *fakeTx) Close() {
	if x.tx != nil {
		x.tx.Rollback()
	}
}

var (
	errClosed = errors.New("it is closed")
	errNo     = errors.New("no")
)

// A number is a command that comes to itself.
type number struct {
	task  Task
	n     int
	fails int // attempts, at first
}

func (n *number) Param() ([]byte, error)           { return json.Marshal(n.n) }
func (n *number) Reset()                           {}
func (n *number) Result() any                      { return n.n }
func (n *number) Decoded(data []byte) (any, error) { return string(data), nil }

func newNumber(k *Kind, id string, n, fails int) *number {
	c := &number{n: n, fails: fails}
	c.task.Init(k, c, id)
	return c
}

func numbers(tasks []*Task) (ns []*number) {
	for _, t := range tasks {
		ns = append(ns, t.Typed().(*number))
	}
	return ns
}

type jsonCodec struct{}

func (jsonCodec) Encode(v any) ([]byte, error)    { return json.Marshal(v) }
func (jsonCodec) Decode(data []byte, v any) error { return json.Unmarshal(data, v) }

// config is of commands that fail as often as they say, and are tried again after a minute each time.
func config() Config {
	return Config{
		Kind: "number", Zero: 0, Codec: jsonCodec{},
		MaxLen: 100, MaxQueue: 100, MaxTime: time.Hour,
		Retry: func(failed int) (time.Duration, bool) { return time.Minute, failed < 10 },
		Handle: func(_ context.Context, _ *sql.Tx, batch []*Task) error {
			return failing(batch)
		},
		Errors: Errors{
			Closed:  errClosed,
			Pending: func(id string, cause error) error { return fmt.Errorf("%s is pending: %w", id, cause) },
		},
	}
}

func failing(batch []*Task) (err error) {
	for _, n := range numbers(batch) {
		if n.fails > 0 {
			n.fails--
			err = errNo
		}
	}
	return err
}

// recording is config for commands that are recorded in a database.
func recording(t *testing.T) (c Config, open func() *fakeHost) {
	t.Helper()
	file := "file:" + filepath.Join(t.TempDir(), "test.db") + "?_journal=WAL&_sync=OFF&_txlock=immediate"
	open = func() *fakeHost {
		db, err := sql.Open("sqlite3", file)
		require.NoError(t, err)
		_, err = durable.Prepare(t.Context(), db)
		require.NoError(t, err)
		return &fakeHost{db: db}
	}
	c = config()
	c.Dialect = durable.SQLite
	c.Durable = &Durable{Lease: time.Second, Revive: func(k *Kind, id string, value []byte) (*Task, error) {
		n := newNumber(k, id, 0, 0)
		return &n.task, json.Unmarshal(value, &n.n)
	}}
	c.Flights = flight.New[engine.Answer](0)
	return c, open
}
