// A GET and a POST with net/http, as an app would write them. usage: with_net_http URL BODY
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

func main() {
	url, body := os.Args[1], os.Args[2]
	show(http.Get(url + "/get"))
	show(http.Post(url+"/post", "text/plain", strings.NewReader(body)))
}

func show(answer *http.Response, err error) {
	if err != nil {
		fail(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		fail(fmt.Errorf("status %s", answer.Status))
	}
	if _, err := io.Copy(os.Stdout, answer.Body); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
