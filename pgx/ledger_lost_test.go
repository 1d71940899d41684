package pgx_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/pgtest/proxy"
	"github.com/stretchr/testify/require"
)

// What happens to the acknowledgement of a COMMIT of calls with ids: more than that it is lost.

func TestWhoseContextEndsWhileTheOutcomeIsUnknownIsToldSo(t *testing.T) {
	t.Parallel()
	r, p := promised(t, groupcommit.MaxTime(2*time.Second))
	r.forget()
	r.noSpare()
	free := r.hold()
	const n = 20
	ctx, cancel := context.WithCancel(background)
	ps := make([]*groupcommit.Promise, n)
	for i := range n {
		ps[i] = groupcommit.Go(groupcommit.WithID(ctx, fmt.Sprint("id", i)), r.db, logged(i).query, i)
	}
	r.queued(n)
	var once atomic.Bool
	p.OnClient(func(m proxy.Message) proxy.Action {
		if m.Commit && once.CompareAndSwap(false, true) {
			p.Refuse(true)
			cancel()
			return proxy.CutAfterForward
		}
		return proxy.Pass
	})
	free()
	for i, pr := range ps {
		_, err := pr.Await(background)
		r.unknown(err, i)
		require.ErrorIs(t, err, context.Canceled)
	}
	p.OnClient(nil)
	p.Refuse(false)
	r.eventually("they were committed", func() bool { return r.promises("state = 1") == fmt.Sprint(n) })
	r.once(n)
}

// A call that has a connection of its own looks for another one to find out on, and must not wait for the first.
func TestALostAcknowledgementIsFoundOutWhereThereIsRoomForOneConnection(t *testing.T) {
	t.Parallel()
	r, p := promised(t, groupcommit.Physical(1))
	onCommit(p, proxy.CutAfterForward)
	ctx, cancel := context.WithTimeout(background, 20*time.Second) // for the test's sake
	defer cancel()
	require.Equal(t, doneBefore, execID(groupcommit.NoBatch(ctx), r.db, named{"a", logged(1)}))
	r.once(1)
}

func TestALostAcknowledgementIsFoundOutWhateverThePolicy(t *testing.T) {
	t.Parallel()
	for _, mode := range []groupcommit.GroupMode{groupcommit.Transaction, groupcommit.Autocommit} {
		for _, n := range []int{1, 5} {
			t.Run(fmt.Sprintf("%v, %d", mode, n), func(t *testing.T) {
				r, p := promised(t, groupcommit.Retry(groupcommit.Never), groupcommit.Mode(mode))
				release := r.beginNamed(ids(logs(n))...)
				onCommit(p, proxy.CutAfterForward)
				for _, o := range release() {
					require.NoError(t, o.err)
				}
				r.once(n)
			})
		}
	}
}
