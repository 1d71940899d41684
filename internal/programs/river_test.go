package programs

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRiverInsertsEachJobOnceAndNoneOfATransactionThatIsRolledBack(t *testing.T) {
	onBoth(t, func(t *testing.T, e Engine) {
		plain, swapped := sides(t, e)
		for _, s := range []side{plain, swapped} {
			t.Run(s.driver, func(t *testing.T) {
				db := s.open(t)
				client, err := NewRiver(t.Context(), e, db)
				require.NoError(t, err)
				must(t, db, s.engine.Schema())
				p := &producer{client: client, db: db, jobs: map[int64]int{}}
				var all sync.WaitGroup
				for g := range goroutines {
					all.Go(func() { assert.NoError(t, p.insert(t.Context(), g)) })
				}
				all.Wait()
				p.check(t)
			})
		}
	})
}

// A producer inserts jobs in each of river's ways.
type producer struct {
	client *Inserter
	db     *sql.DB

	mu   sync.Mutex
	jobs map[int64]int // the numbers of the jobs by the keys that the database made
	once int           // how many have inserted the job that all want
}

// uniqueJob is the number that every goroutine wants to insert.
const uniqueJob = -1

func (p *producer) insert(ctx context.Context, g int) error {
	n := g * 100
	one, err := p.client.Insert(ctx, Job{n}, nil)
	if err != nil {
		return err
	}
	p.note(one)
	many, err := p.client.InsertMany(ctx, []river.InsertManyParams{{Args: Job{n + 1}}, {Args: Job{n + 2}}})
	if err != nil {
		return err
	}
	p.note(many...)
	unique, err := p.client.Insert(ctx, Job{uniqueJob}, &river.InsertOpts{UniqueOpts: river.UniqueOpts{ByArgs: true}})
	if err != nil {
		return err
	}
	if !unique.UniqueSkippedAsDuplicate {
		p.mu.Lock()
		p.once++
		p.mu.Unlock()
		p.note(unique)
	}
	if err := p.inTx(ctx, n+3, true); err != nil {
		return err
	}
	if err := p.inTx(ctx, n+4, false); err != nil {
		return err
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := p.client.Insert(over, Job{n + 5}, nil); !errors.Is(err, context.Canceled) {
		return errors.Join(errors.New("an insert whose context had ended"), err)
	}
	return nil
}

// inTx inserts a job together with a row of the program's own, and commits or not.
func (p *producer) inTx(ctx context.Context, n int, commit bool) error {
	tx, err := p.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, "INSERT INTO users (owner, name, balance, born) VALUES ($1, $2, 0, CURRENT_TIMESTAMP)", n, fmt.Sprint("of job ", n)); err != nil {
		return err
	}
	job, err := p.client.InsertTx(ctx, tx, Job{n}, nil)
	if err != nil || !commit {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	p.note(job)
	return nil
}

func (p *producer) note(jobs ...*rivertype.JobInsertResult) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, j := range jobs {
		var args Job
		if err := json.Unmarshal(j.Job.EncodedArgs, &args); err != nil {
			panic(err)
		}
		p.jobs[j.Job.ID] = args.N
	}
}

// check compares what was answered with what is there.
func (p *producer) check(t *testing.T) {
	assert.Equal(t, 1, p.once)
	assert.Len(t, p.jobs, goroutines*4+1)
	there := map[int64]int{}
	rows, err := p.db.Query("SELECT id, CAST(args->>'n' AS BIGINT) FROM river_job")
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		var id int64
		var n int
		require.NoError(t, rows.Scan(&id, &n))
		there[id] = n
	}
	require.NoError(t, rows.Err())
	assert.Equal(t, there, p.jobs)
	var beside, odd int
	require.NoError(t, p.db.QueryRow("SELECT count(*), count(CASE WHEN owner % 100 <> 3 THEN 1 END) FROM users").Scan(&beside, &odd))
	assert.Equal(t, goroutines, beside)
	assert.Zero(t, odd)
}
