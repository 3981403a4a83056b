from joshi.cli import main

main()
