package main

import (
	"context"
	"database/sql"
	"strings"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// small is a failing run that takes no time.
func small(r run) run {
	r.users, r.goroutines, r.synchronous = 100, 4, "off"
	if r.driver == pgxDriver || r.conns > 0 {
		r.conns = min(r.conns, 2)
	}
	return r
}

func TestEveryKindOfFailureIsTheDriversOwnErrorOnBothSides(t *testing.T) {
	l := &lab{place: dir(t.TempDir())}
	for _, line := range failingRuns(l.place, 20) {
		for _, r := range []run{small(line.plain), small(line.ours)} {
			res, err := l.alone(context.Background(), r)
			require.NoError(t, err, r.name)
			want := 100
			if line.kind != "none" {
				want = 95
			}
			assert.Equal(t, want, res.Rows, r.name)
		}
	}
	assert.Len(t, failingRuns(l.place, 20), 2*(1+len(sqliteFailures)))
}

func TestEveryKindOfFailureOfPostgreSQLToo(t *testing.T) {
	p, err := newCluster(context.Background(), pgtest.DSN(t))
	require.NoError(t, err)
	defer p.close()
	l := &lab{place: p}
	for _, line := range failingRuns(l.place, 20) {
		if line.goroutines > 64 {
			continue
		}
		for _, r := range []run{small(line.plain), small(line.ours)} {
			res, err := l.alone(context.Background(), r)
			require.NoError(t, err, r.name)
			assert.GreaterOrEqual(t, res.Rows, 95, r.name)
		}
	}
}

func TestACallThatDoesNotFailAsItShouldEndsTheRun(t *testing.T) {
	l := &lab{place: dir(t.TempDir())}
	r := small(failingRuns(l.place, 20)[1].ours)
	whole := r.api
	r.api = func(ctx context.Context, db *sql.DB, w *work) error {
		if _, err := db.Exec("DELETE FROM users_f"); err != nil { // the first one violates nothing
			return err
		}
		return whole(ctx, db, w)
	}
	_, err := l.alone(context.Background(), r)
	assert.ErrorContains(t, err, "no error, but that of UNIQUE expected")
}

func TestTheTableOfFailuresHasALineForEachKind(t *testing.T) {
	usual := failingPace
	defer func() { failingPace = usual }()
	failingPace = pace{slice: 5 * time.Millisecond}
	var out strings.Builder
	l := &lab{place: few{dir(t.TempDir())}, out: &out}
	require.NoError(t, l.failing(context.Background(), 5, 2))
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, 3+2+2*2)
	assert.Contains(t, lines[0], "5 calls in 100 fail; slices of 5ms in turns, medians of 2")
	assert.Regexp(t, `^\| none \| 64 \| [0-9,]+ \| [0-9.]+ .s \| [0-9,]+, [0-9.]+ .s \| \*\*[0-9.]+\*\* \([0-9.]+ to [0-9.]+\) \| \*\*1\.00\*\* \(1\.00 to 1\.00\) \|$`, lines[5])
	assert.Contains(t, lines[8], "| UNIQUE | 1,024 |")
	assert.Len(t, l.results, 2*(2+3))
}

// few is a place with one kind of failure, and small runs.
type few struct{ dir }

func (f few) failures() []*failure { return sqliteFailures[:1] }
func (f few) failing(goroutines int) (theirs, ours run) {
	theirs, ours = f.dir.failing(goroutines)
	theirs.synchronous, ours.synchronous = "off", "off"
	return theirs, ours
}

func TestQuartilesLieBetweenTheValues(t *testing.T) {
	assert.Equal(t, 2.0, quartile([]float64{1, 2, 3, 4, 5}, 1))
	assert.Equal(t, 3.0, quartile([]float64{1, 2, 3, 4, 5}, 2))
	assert.Equal(t, 4.0, quartile([]float64{1, 2, 3, 4, 5}, 3))
	assert.Equal(t, 1.5, quartile([]float64{1, 2}, 2))
	assert.Equal(t, 7.0, quartile([]float64{7}, 3))
	assert.Zero(t, quartile(nil, 2))
}
