package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/groupcommit/groupcommit/internal/disk"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/groupcommit/groupcommit/internal/programs"
	"github.com/groupcommit/groupcommit/internal/syncer"
	gcsqlite3 "github.com/groupcommit/groupcommit/sqlite3"
)

// A ground is where the databases of libraries are made.
type ground interface {
	title() string
	price() string // of a sync
	engine() programs.Engine
	// sides are the plain driver on each of its pools, and then the swapped one.
	sides() []librarySide
	// open makes an empty database for a side. done closes it and leaves nothing of it.
	open(ctx context.Context, s librarySide) (db *sql.DB, done func() error, err error)
}

type librarySide struct {
	name string // for people
	pool int    // of the plain driver; 0: unlimited. -1: the swapped one
}

const swappedSide = -1

// files are SQLite databases in a folder.
type files struct {
	folder string
	syncs  string // what is said of them
	remove string // the folder that goes at the end
	number int
}

// newFiles has a folder on the disk, or one in memory in which a sync takes so long: then this program begins anew, with the
// shim of package disk below.
func newFiles(sync time.Duration) (*files, error) {
	if sync == 0 {
		folder, err := os.MkdirTemp("", "groupcommit-bench-")
		return &files{folder: folder, remove: folder, syncs: "in " + folder + ", " + filesystem(folder)}, err
	}
	if d, ok := disk.Current(); ok {
		syncer.Fdatasync = d.Fdatasync
		return &files{folder: d.Folder, remove: filepath.Dir(d.Folder), syncs: fmt.Sprintf("in memory, where a sync takes %v", d.Takes)}, nil
	}
	folder, d, err := makeDisk()
	if err != nil {
		return nil, err
	}
	d.Takes = sync
	return nil, errors.Join(d.Restart(), os.RemoveAll(folder))
}

// makeDisk makes a disk in memory. All of it is in folder.
func makeDisk() (folder string, d disk.Disk, err error) {
	made, err := os.MkdirTemp(disk.Memory(), "groupcommit-bench-")
	if err != nil {
		return "", d, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(made))
		}
	}()
	whole, err := filepath.EvalSymlinks(made)
	if err != nil {
		return "", d, err
	}
	if d.Shim, err = disk.Build(whole); err != nil {
		return "", d, err
	}
	d.Folder = filepath.Join(whole, "disk")
	return made, d, os.Mkdir(d.Folder, 0o700)
}

func (f *files) close() error            { return os.RemoveAll(f.remove) }
func (f *files) title() string           { return "SQLite, WAL, synchronous=FULL, " + f.syncs }
func (f *files) price() string           { return "A sync on this disk: " + syncPrice(f.folder) + "." }
func (f *files) engine() programs.Engine { return programs.SQLite }

func (f *files) sides() []librarySide {
	return []librarySide{{"1 connection", 1}, {"unlimited pool", 0}, {gcsqlite3.DriverName, swappedSide}}
}

// open has callers wait for the lock where they are many, and take it at BEGIN: without that, plain SQLite refuses some.
func (f *files) open(_ context.Context, s librarySide) (*sql.DB, func() error, error) {
	f.number++
	name := filepath.Join(f.folder, fmt.Sprintf("%d.db", f.number))
	driver := sqliteDriver
	if s.pool == swappedSide {
		driver = gcsqlite3.DriverName
	}
	db, err := sql.Open(driver, "file:"+(&url.URL{Path: name}).EscapedPath()+"?_journal_mode=WAL&_synchronous=FULL&_txlock=immediate&_busy_timeout=20000")
	if err != nil {
		return nil, nil, err
	}
	db.SetMaxOpenConns(max(s.pool, 0))
	db.SetMaxIdleConns(libraryCallers)
	return db, func() error {
		return errors.Join(db.Close(), removeSQLite(name))
	}, nil
}

// databases are those of a PostgreSQL server.
type databases struct{ server *cluster }

func (d *databases) engine() programs.Engine { return programs.Postgres }

func (d *databases) price() string { return d.server.price() }

func (d *databases) title() string {
	_, where := d.server.where()
	return where + "; " + d.server.settings(config{})
}

// physicalOfLibraries is the swapped side's bound, which is the larger pool of the plain one.
const physicalOfLibraries = libraryCallers

func (d *databases) sides() []librarySide {
	return []librarySide{{"16 connections", 16}, {fmt.Sprint(libraryCallers, " connections"), libraryCallers}, {pgxDriver + "-groupcommit", swappedSide}}
}

func (d *databases) open(ctx context.Context, s librarySide) (db *sql.DB, done func() error, err error) {
	admin, err := openPgxPool(d.server.dsn, 1)
	if err != nil {
		return nil, nil, err
	}
	name := "groupcommit_bench_" + strings.ToLower(rand.Text()[:12])
	if _, err := admin.ExecContext(ctx, "CREATE DATABASE "+name+" TEMPLATE template0"); err != nil {
		return nil, nil, errors.Join(err, admin.Close())
	}
	drop := func() error { // also after an interrupt
		_, err := admin.Exec("DROP DATABASE " + name + " WITH (FORCE)")
		return errors.Join(err, admin.Close())
	}
	dsn := pgtest.With(d.server.dsn, pgtest.Database(name))
	if s.pool == swappedSide {
		db, err = openPgxSwapped(dsn, libraryCallers, physicalOfLibraries)
	} else {
		db, err = openPgxPool(dsn, s.pool)
	}
	if err != nil {
		return nil, nil, errors.Join(err, drop())
	}
	return db, func() error { return errors.Join(db.Close(), drop()) }, nil
}
