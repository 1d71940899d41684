package main

import (
	"database/sql"
	"fmt"
	"log"
	"sync"

	"github.com/groupcommit/groupcommit"
	_ "github.com/groupcommit/groupcommit/sqlite3"
)

func main() {
	db, err := sql.Open("sqlite3-groupcommit", "app.db?_journal=WAL&_synchronous=FULL")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("CREATE TABLE IF NOT EXISTS users (name TEXT)"); err != nil {
		log.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 1000 {
		all.Go(func() {
			if _, err := db.Exec("INSERT INTO users (name) VALUES (?)", fmt.Sprint("user ", i)); err != nil {
				log.Print(err)
			}
		})
	}
	all.Wait()
	stats, _ := groupcommit.StatsOf(db)
	fmt.Println(stats.Calls, "inserts in", stats.Groups, "commits")
}
