// Command swap is an existing program, a small counter of page views over HTTP, in which one string has changed. Run it
// with either driver:
//
//	go run ./examples/swap -driver sqlite3
//	go run ./examples/swap -driver sqlite3-groupcommit
//
// Each request writes one row and is answered when the row is durable. The requests are independent.
package main

import (
	"database/sql"
	"flag"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"time"

	_ "github.com/groupcommit/groupcommit/sqlite3"
	_ "github.com/mattn/go-sqlite3"
)

func main() {
	name := flag.String("driver", "sqlite3-groupcommit", "sqlite3 or sqlite3-groupcommit")
	requests := flag.Int("requests", 2000, "requests to make")
	clients := flag.Int("clients", 50, "clients that make them at the same time")
	flag.Parse()
	if err := run(*name, *requests, *clients); err != nil {
		log.Fatal(err)
	}
}

func run(name string, requests, clients int) error {
	dir, err := os.MkdirTemp("", "swap")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	db, err := sql.Open(name, filepath.Join(dir, "views.db")+"?_journal=WAL&_synchronous=FULL")
	if err != nil {
		return err
	}
	defer db.Close()
	if name == "sqlite3" {
		db.SetMaxOpenConns(1) // or else: database is locked
	}
	if _, err := db.Exec("CREATE TABLE views (path TEXT, at TIMESTAMP)"); err != nil {
		return err
	}
	server := httptest.NewServer(&counter{db})
	defer server.Close()

	start := time.Now()
	if err := visit(server.URL, requests, clients); err != nil {
		return err
	}
	took := time.Since(start)
	var rows int
	if err := db.QueryRow("SELECT count(*) FROM views").Scan(&rows); err != nil {
		return err
	}
	fmt.Printf("%s: %d requests in %.2f seconds, %d rows\n", name, requests, took.Seconds(), rows)
	return nil
}

// counter is the existing program. Nothing in it has changed.
type counter struct{ db *sql.DB }

func (c *counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, err := c.db.ExecContext(r.Context(), "INSERT INTO views (path, at) VALUES (?, ?)", r.URL.Path, time.Now())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// visit makes the requests, by so many clients.
func visit(url string, requests, clients int) error {
	work := make(chan int)
	failed := make(chan error, clients)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for i := range work {
				resp, err := client.Get(fmt.Sprintf("%s/page/%d", url, i%10))
				if err == nil {
					resp.Body.Close()
					if resp.StatusCode != http.StatusOK {
						err = fmt.Errorf("request %d: %s", i, resp.Status)
					}
				}
				if err != nil {
					select {
					case failed <- err:
					default:
					}
				}
			}
		})
	}
	for i := range requests {
		work <- i
	}
	close(work)
	wg.Wait()
	close(failed)
	return <-failed
}
