package powertest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/groupcommit/groupcommit/internal/disk"
)

// sector is what a disk writes whole.
const sector = 512

// An imager takes images of what a power failure would leave, of three kinds in turn:
//
//   - what was synced, and nothing else;
//   - what was synced of the WAL, and all that was written to the database;
//   - of each sector of both files, what was synced or what was written, by chance.
//
// It is taken in the moment of an acknowledgement, before another sync can make up for what that one lacked. While it is taken no
// sync begins or is answered, and nothing is acknowledged. It is any of the next acknowledgements, as many as there are writers: where
// they share a sync, the first is mostly that of the one that began it, and what would be lost is the last ones'.
type imager struct {
	disk   disk.Disk
	known  *ledger
	report Report
}

func (i *imager) enough() bool {
	i.known.mu.Lock()
	defer i.known.mu.Unlock()
	return i.report.Images >= fewImages && i.known.changes >= fewChanges
}

// take takes an image of each kind, each after a while of its own.
func (i *imager) take(ctx context.Context) error {
	for kind := range 3 {
		time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond)
		folder, err := os.MkdirTemp(filepath.Dir(i.disk.Folder), "image-")
		if err != nil {
			return err
		}
		var want map[int64]bool
		taken := make(chan error, 1)
		i.known.mu.Lock()
		i.known.before = rand.IntN(writers)
		i.known.image = func() {
			taken <- i.disk.Locked(func() error {
				want = maps.Clone(i.known.rows)
				return i.copy(kind, folder)
			})
		}
		i.known.mu.Unlock()
		select {
		case err = <-taken:
		case <-ctx.Done():
			return nil // the load has failed
		}
		if err == nil {
			i.judge(kind, folder, want)
		}
		if err := errors.Join(err, os.RemoveAll(folder)); err != nil {
			return err
		}
	}
	return nil
}

func (i *imager) copy(kind int, to string) error {
	for _, name := range []string{file, file + "-wal"} {
		content, err := i.disk.Synced(name)
		if err != nil {
			return err
		}
		if kind == 2 || kind == 1 && name == file {
			written, err := i.disk.Written(name)
			if err != nil {
				return err
			}
			if kind == 2 {
				written = mixed(content, written)
			}
			content = written
		}
		if content == nil {
			continue
		}
		if err := os.WriteFile(filepath.Join(to, name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// mixed takes each sector, and the length, of one or the other.
func mixed(a, b []byte) []byte {
	length := len(a)
	if rand.IntN(2) == 0 {
		length = len(b)
	}
	c := make([]byte, length)
	for at := 0; at < length; at += sector {
		from := a
		if at >= len(a) || at < len(b) && rand.IntN(2) == 0 {
			from = b
		}
		if at < len(from) {
			copy(c[at:min(at+sector, length)], from[at:])
		}
	}
	return c
}

// judge opens an image as a program does after a power failure.
func (i *imager) judge(kind int, folder string, want map[int64]bool) {
	i.report.Images++
	there, err := read(filepath.Join(folder, file))
	if err != nil {
		i.report.Corrupt++
		i.first("an image of kind %d: %v", kind, err)
		return
	}
	for id, here := range want {
		if there[id] != here {
			i.report.Missing++
			i.first("an image of kind %d: row %d of writer %d has to be there: %t, and is: %t", kind, id&(1<<32-1), id>>32, here, there[id])
		}
	}
}

func (i *imager) first(format string, args ...any) {
	if i.report.First == "" {
		i.report.First = fmt.Sprintf(format, args...)
	}
}

func read(at string) (map[int64]bool, error) {
	db, err := sql.Open("sqlite3", "file:"+at)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	var whole string
	if err := db.QueryRow("PRAGMA integrity_check").Scan(&whole); err != nil {
		return nil, err
	}
	if whole != "ok" {
		return nil, errors.New(whole)
	}
	rows, err := db.Query("SELECT id FROM t")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	there := map[int64]bool{}
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		there[id] = true
	}
	return there, rows.Err()
}
