package libraries_test

import (
	"fmt"

	"gorm.io/driver/sqlite"
	"gorm.io/gorm"
)

// GORM's dialects take the name of a driver or a *sql.DB. On PostgreSQL it is better the latter: see postgres_test.go.
func Example_gorm() {
	dsn, remove := newDSN()
	defer remove()
	db, err := gorm.Open(sqlite.Dialector{DriverName: "sqlite3-groupcommit", DSN: dsn}, &gorm.Config{})
	must(err)

	type User struct {
		ID   int64
		Name string
	}
	must(db.AutoMigrate(&User{}))
	each(func(i int) error { return db.Create(&User{Name: fmt.Sprint("user ", i)}).Error })

	var n int64
	must(db.Model(&User{}).Where("id > 0").Count(&n).Error)
	fmt.Println(n, "users")
	inner, err := db.DB()
	must(err)
	must(inner.Close())
	// Output: 32 users
}
