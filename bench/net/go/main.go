// SPDX-License-Identifier: MIT

// Netgo is Go's side of the network benchmark: echo and HTTP on goroutines, with nothing but the standard library.
//
//	netgo echo|rawhttp|nethttp [port]
//
// rawhttp is to net/http what examples/httpd.c is to it: a small parser on a plain connection, one goroutine each.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

const maxHead = 16384

func echo(c net.Conn) {
	defer c.Close()
	buf := make([]byte, 2048)
	for {
		n, err := c.Read(buf)
		if n > 0 {
			if _, err := c.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

var connection, closing = []byte("Connection"), []byte("close")

// head reads the lines of one request. The target is valid until the next read.
func head(r *bufio.Reader, target []byte) (_ []byte, keep bool, err error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return nil, false, err
	}
	_, rest, _ := bytes.Cut(line, []byte(" "))
	word, version, _ := bytes.Cut(rest, []byte(" "))
	if !bytes.HasPrefix(version, []byte("HTTP/1.")) {
		return nil, false, io.ErrUnexpectedEOF
	}
	target, keep = append(target[:0], word...), version[7] == '1'
	for size := len(line); size < maxHead; size += len(line) {
		if line, err = r.ReadSlice('\n'); err != nil {
			return nil, false, err
		}
		if len(line) <= 2 {
			return target, keep, nil
		}
		colon := bytes.IndexByte(line, ':')
		if colon < 0 {
			return nil, false, io.ErrUnexpectedEOF
		}
		if colon == len(connection) && bytes.EqualFold(line[:colon], connection) {
			keep = !bytes.EqualFold(bytes.TrimSpace(line[colon+1:]), closing)
		}
	}
	return nil, false, io.ErrUnexpectedEOF
}

func rawHTTP(c net.Conn) {
	defer c.Close()
	r, w := bufio.NewReaderSize(c, 1536), bufio.NewWriterSize(c, 2048)
	var date string
	var dateAt int64
	target := make([]byte, 0, 64)
	for {
		if r.Buffered() == 0 { // about to wait
			if _, err := r.Peek(1); err != nil {
				return
			}
			if now := time.Now(); now.Unix() != dateAt {
				dateAt, date = now.Unix(), now.UTC().Format(http.TimeFormat)
			}
		}
		var keep bool
		var err error
		if target, keep, err = head(r, target); err != nil {
			return
		}
		status, body := "200 OK", "Hello, World!"
		if string(target) != "/plaintext" {
			status, body = "404 Not Found", "Not Found"
		}
		w.WriteString("HTTP/1.1 ")
		w.WriteString(status)
		w.WriteString("\r\nServer: gmpsched\r\nDate: ")
		w.WriteString(date)
		w.WriteString("\r\nContent-Type: text/plain\r\nContent-Length: ")
		w.WriteString(strconv.Itoa(len(body)))
		w.WriteString("\r\n")
		if !keep {
			w.WriteString("Connection: close\r\n")
		}
		w.WriteString("\r\n")
		w.WriteString(body)
		if r.Buffered() == 0 || !keep { // replies to pipelined requests leave together
			if w.Flush() != nil || !keep {
				return
			}
		}
	}
}

func main() {
	if len(os.Args) < 2 {
		log.Fatal("usage: netgo echo|rawhttp|nethttp [port]")
	}
	port := "0"
	if len(os.Args) > 2 {
		port = os.Args[2]
	}
	l, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("listening on %s\n", l.Addr())

	handler := rawHTTP
	switch os.Args[1] {
	case "nethttp":
		http.HandleFunc("/plaintext", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("Server", "gmpsched")
			io.WriteString(w, "Hello, World!")
		})
		log.Fatal(http.Serve(l, nil))
	case "echo":
		handler = echo
	case "rawhttp":
	default:
		log.Fatal("no such server: " + os.Args[1])
	}
	for {
		c, err := l.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go handler(c)
	}
}
