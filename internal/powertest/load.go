package powertest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/groupcommit/groupcommit/internal/disk"
)

const (
	writers = 16
	// alive is how many rows a writer leaves: so the file stays small, and deletions are tested, too.
	alive = 20
	// few images and changes there are in any case.
	fewImages, fewChanges = 12, 64
)

// A ledger knows what was acknowledged.
type ledger struct {
	mu      sync.Mutex
	rows    map[int64]bool // whether the row has to be there; what is not known is not in it
	changes int
	image   func() // that is wanted; nil: none
	before  int    // acknowledgements before the one in which it is taken
}

// doubt is said before a change: until it is acknowledged, nothing is known of the row.
func (a *ledger) doubt(id int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.rows, id)
}

func (a *ledger) acknowledged(add, remove, forget int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rows[add] = true
	a.changes++
	if remove != 0 {
		a.rows[remove] = false
		a.changes++
	}
	delete(a.rows, forget)
	switch take := a.image; {
	case take == nil:
	case a.before > 0:
		a.before--
	default:
		a.image = nil
		take()
	}
}

// run is the load in its process.
func (l Load) run(d disk.Disk) (r Report, err error) {
	if l.Go != nil {
		l.Go(d.Fdatasync)
	}
	at := filepath.Join(d.Folder, file)
	if err := makeTable(at); err != nil {
		return r, err
	}
	db, err := l.Open(at)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	plain, err := openPlain(at)
	if err != nil {
		return r, err
	}
	defer plain.Close()
	ctx, stop := context.WithCancelCause(context.Background())
	defer stop(nil)
	known := &ledger{rows: map[int64]bool{}}
	var all sync.WaitGroup
	for g := range writers {
		all.Go(func() {
			if err := l.write(ctx, db, known, g); err != nil && ctx.Err() == nil {
				stop(err)
			}
		})
	}
	if !l.Still {
		all.Go(func() { checkpoints(ctx, plain) })
	}
	if l.Beside {
		other, err := startBeside(d, at)
		if err != nil {
			return r, err
		}
		defer func() { err = errors.Join(err, other.end()) }()
	}
	i := &imager{disk: d, known: known}
	for begun := time.Now(); ctx.Err() == nil && l.goesOn(time.Since(begun), i); {
		if err := i.take(ctx); err != nil {
			stop(err)
		}
	}
	err = context.Cause(ctx)
	stop(nil)
	all.Wait()
	i.report.Acknowledged = known.changes
	return i.report, err
}

func (l Load) goesOn(spent time.Duration, i *imager) bool {
	if l.Loses {
		return spent < time.Minute && i.report.Missing == 0
	}
	return spent < *budget || !i.enough()
}

// write is one writer. Its calls are not cancelled: of a call that is under way when the load ends, nothing is known.
func (l Load) write(ctx context.Context, db *sql.DB, known *ledger, g int) error {
	way := l.Ways[g%len(l.Ways)]
	for i := int64(1); ctx.Err() == nil; i++ {
		add, remove, forget := int64(g)<<32+i, int64(0), int64(0)
		if i > alive {
			remove = add - alive
		}
		if i > 3*alive {
			forget = add - 3*alive
		}
		known.doubt(remove)
		if err := way(context.WithoutCancel(ctx), db, add, remove); err != nil {
			return fmt.Errorf("writer %d, row %d: %w", g, i, err)
		}
		known.acknowledged(add, remove, forget)
	}
	return nil
}

// checkpoints makes one of each kind in turn. It is refused where the database is busy.
func checkpoints(ctx context.Context, plain *sql.DB) {
	for i := 0; ctx.Err() == nil; i++ {
		time.Sleep(time.Millisecond)
		plain.ExecContext(ctx, "PRAGMA wal_checkpoint("+[]string{"PASSIVE", "FULL", "RESTART", "TRUNCATE"}[i%4]+")")
	}
}

func openPlain(at string) (*sql.DB, error) {
	db, err := sql.Open("sqlite3", "file:"+at+"?_busy_timeout=20000&_sync=FULL")
	if err == nil {
		db.SetMaxOpenConns(1)
	}
	return db, err
}

// makeTable leaves a file in which all is synced.
func makeTable(at string) error {
	if _, err := os.Stat(at); err == nil {
		return fmt.Errorf("%s is there already", at)
	}
	db, err := openPlain(at)
	if err != nil {
		return err
	}
	_, err = db.Exec("PRAGMA journal_mode=WAL; CREATE TABLE t (id INTEGER PRIMARY KEY, s TEXT); CREATE TABLE beside (n INTEGER); PRAGMA wal_checkpoint(TRUNCATE)")
	return errors.Join(err, db.Close())
}
