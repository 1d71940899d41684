package proxy_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/internal/pgtest/proxy"
)

// commits are the ways in which a client commits a row.
var commits = map[string]func(context.Context, *pgx.Conn) error{
	"BEGIN … COMMIT, simple protocol": func(ctx context.Context, conn *pgx.Conn) error {
		tx, err := conn.Begin(ctx)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "INSERT INTO t VALUES ($1)", 1); err != nil {
			return err
		}
		return tx.Commit(ctx)
	},
	"one text with several statements": func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "BEGIN; INSERT INTO t VALUES (1); COMMIT;")
		return err
	},
	"a pipeline with prepared BEGIN and COMMIT": func(ctx context.Context, conn *pgx.Conn) error {
		batch := &pgx.Batch{}
		batch.Queue("begin")
		batch.Queue("INSERT INTO t VALUES ($1)", 1)
		batch.Queue("commit")
		return conn.SendBatch(ctx, batch).Close()
	},
}

func onCommit(a proxy.Action) func(proxy.Message) proxy.Action {
	return func(m proxy.Message) proxy.Action {
		if m.Commit {
			return a
		}
		return proxy.Pass
	}
}

func eachWay(t *testing.T, story func(r rig, commit func(context.Context) error)) {
	for name, commit := range commits {
		t.Run(name, func(t *testing.T) {
			r := setUp(t)
			conn := r.connect(r.through)
			story(r, func(ctx context.Context) error { return commit(ctx, conn) })
		})
	}
}

func TestALostAcknowledgementIsACommit(t *testing.T) {
	eachWay(t, func(r rig, commit func(context.Context) error) {
		r.proxy.OnClient(onCommit(proxy.CutAfterForward))
		if err := commit(deadline(r.T)); err == nil {
			r.Error("acknowledged")
		}
		r.wantRows(1)
	})
}

func TestALostCommitIsNone(t *testing.T) {
	eachWay(t, func(r rig, commit func(context.Context) error) {
		r.proxy.OnClient(onCommit(proxy.Cut))
		if err := commit(deadline(r.T)); err == nil {
			r.Error("acknowledged")
		}
		r.wantIdle()
		r.wantRows(0)
	})
}

func TestMuteLeavesTheClientWaiting(t *testing.T) {
	eachWay(t, func(r rig, commit func(context.Context) error) {
		muted := make(chan struct{}, 1)
		ctx, cancel := context.WithCancel(deadline(r.T))
		r.proxy.OnClient(func(m proxy.Message) proxy.Action {
			if m.Commit {
				muted <- struct{}{}
				return proxy.Mute
			}
			return proxy.Pass
		})
		answer := make(chan error, 1)
		go func() { answer <- commit(ctx) }()
		bounded.Receive(r, "the commit is on its way", muted)
		r.wantRows(1)
		select {
		case err := <-answer:
			r.Errorf("answered: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
		cancel()
		if err := bounded.Receive(r, "the call is answered", answer); err == nil {
			r.Error("acknowledged")
		}
	})
}

func TestCutAtTheServersAnswer(t *testing.T) {
	eachWay(t, func(r rig, commit func(context.Context) error) {
		r.proxy.OnServer(func(m proxy.Message) proxy.Action {
			if m.Tag() == "COMMIT" {
				return proxy.Cut
			}
			return proxy.Pass
		})
		if err := commit(deadline(r.T)); err == nil {
			r.Error("acknowledged")
		}
		if n := r.rows(); n != 1 { // it had answered: no need to wait
			r.Errorf("%d rows", n)
		}
	})
}

func TestTheAnswerMayBeTheLastThatComes(t *testing.T) {
	eachWay(t, func(r rig, commit func(context.Context) error) {
		var last string
		r.proxy.OnServer(func(m proxy.Message) proxy.Action {
			if m.Tag() == "COMMIT" {
				last = m.Tag()
				return proxy.CutAfterForward // not the ReadyForQuery behind it
			}
			return proxy.Pass
		})
		commit(deadline(r.T))
		r.wantRows(1)
		r.proxy.OnServer(nil)
		if last != "COMMIT" {
			r.Errorf("last %q", last)
		}
	})
}

func TestAnImplicitTransactionIsCutAtItsSync(t *testing.T) {
	for name, c := range map[string]struct {
		action proxy.Action
		rows   int
	}{"before": {proxy.Cut, 0}, "after": {proxy.CutAfterForward, 100}} {
		t.Run(name, func(t *testing.T) {
			r := setUp(t)
			conn := r.connect(r.through)
			var inserts, at int
			r.proxy.OnClient(func(m proxy.Message) proxy.Action {
				if m.Type == 'E' && m.SQL == "INSERT INTO t VALUES ($1)" {
					inserts++
				}
				if m.Type == 'S' && inserts > 0 {
					at = m.Pipeline
					return c.action
				}
				return proxy.Pass
			})
			batch := &pgx.Batch{}
			for i := range 100 {
				batch.Queue("INSERT INTO t VALUES ($1)", i)
			}
			if err := conn.SendBatch(deadline(t), batch).Close(); err == nil {
				t.Error("acknowledged")
			}
			r.wantIdle()
			r.wantRows(c.rows)
			if inserts != 100 || at != 2 { // the first pipeline prepared
				t.Errorf("%d inserts, cut at the Sync of pipeline %d", inserts, at)
			}
		})
	}
}
