# A GET and a POST with net/http, as an app would write them. usage: with_net_http.rb URL BODY

require "net/http"

url, body = ARGV
headers = { "Authorization" => "Bearer placeholder" }
get = Net::HTTP.get_response(URI("#{url}/get"), headers)
post = Net::HTTP.post(URI("#{url}/post"), body.b, headers)
[get, post].each { |answer| answer.is_a?(Net::HTTPSuccess) or abort("status #{answer.code}") }
