package httpapi

import (
	_ "embed"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"
	"github.com/swaggest/swgui/v5/static"
	"github.com/vearutop/statigz"
)

var (
	//go:embed docs/index.html
	docsPage []byte
	//go:embed docs/start.js
	docsScript []byte
)

// Swagger UI sets styles on its elements and draws its icons from data: URLs.
const docsPolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// addDocs serves Swagger UI from the binary: nothing is downloaded from elsewhere.
func addDocs(router *gin.Engine) {
	assets := http.StripPrefix("/docs", statigz.FileServer(static.FS))
	router.GET("/docs", func(c *gin.Context) { c.Redirect(http.StatusMovedPermanently, "/docs/") })
	router.GET("/docs/*file", func(c *gin.Context) {
		c.Header("Content-Security-Policy", docsPolicy)
		switch file := c.Param("file"); {
		case file == "/":
			c.Data(http.StatusOK, "text/html; charset=utf-8", docsPage)
		case file == "/start.js":
			c.Data(http.StatusOK, "text/javascript; charset=utf-8", docsScript)
		case strings.HasPrefix(file, "/swagger-ui"), strings.HasPrefix(file, "/favicon"):
			c.Header("Cache-Control", "public, max-age=3600")
			assets.ServeHTTP(c.Writer, c.Request)
		default:
			abort(c, problemOf(http.StatusNotFound, "not_found", "Nothing is here."))
		}
	})
}
